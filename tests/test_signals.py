"""Signals are heard within two seconds, whatever the command is doing, and never end in a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.cli import fork, invoke, run, write_data, write_job

ROOT = Path(__file__).parents[1]
SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP]

SLEEPS = """
import time
from pathlib import Path
import torch
from torch import nn

class Sleeps(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x):
        if (Path(__file__).parent / "out.h5.parts").exists():
            (Path(__file__).parent / "asleep").touch()
            time.sleep(60)
        return torch.tanh(self.linear(x))

def build():
    torch.manual_seed(0)
    return Sleeps()
"""


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path)
    (tmp_path / "sleeps.py").write_text(SLEEPS)
    return tmp_path


def ended(process, number):
    """Seconds from the signal to the end, with 75 and one line."""
    process.signal(number)
    began = time.monotonic()
    assert process.wait() == 75, process.stderr
    last = process.stderr.splitlines()[-1]
    assert last.startswith(f"Error: {number.name}: stopped") and "Traceback" not in process.stderr
    return time.monotonic() - began


@pytest.mark.parametrize("number", SIGNALS)
def test_a_call_that_takes_a_minute_does_not_keep_a_signal_waiting(folder, number):
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("started by nohup, which the command heeds")
    process = fork(folder, "run", write_job(folder, model={"factory": "sleeps:build"}))
    process.wait_for((folder / "asleep").exists)
    assert ended(process, number) < 4  # 1.5 on a machine of one's own
    assert not (folder / "out.h5").exists()
    (folder / "sleeps.py").write_text(SLEEPS.replace("time.sleep(60)", "pass"))
    # the code has changed, but nothing has come of it yet
    assert fork(folder, "run", folder / "job.yaml", "--overwrite").wait() == 0


def test_a_second_signal_ends_the_process_at_once(folder):
    process = fork(folder, "run", write_job(folder, model={"factory": "sleeps:build"}))
    process.wait_for((folder / "asleep").exists)
    process.signal(signal.SIGINT)
    time.sleep(0.2)
    assert process.poll() is None  # it waits for the call
    assert ended(process, signal.SIGINT) < 1


def test_the_fit_of_a_flow_hears_a_signal_and_has_kept_its_state(tmp_path):
    rng = np.random.default_rng(0)
    cause = rng.normal(size=(3000, 1))
    x = np.concatenate([cause, cause**2 + rng.normal(size=(3000, 2))], axis=1).astype("f4")
    write_data(tmp_path, x)
    flow = {"epochs": 100_000, "patience": 100_000}
    job = write_job(
        tmp_path,
        dataset={"labels": None},
        engines={"icc": {"graph": {"0": [], "1": ["0"], "2": ["0"]}, "flow": flow, "samples": 64}},
    )
    process = fork(tmp_path, "run", job)
    process.wait_for(lambda: [*(tmp_path / "out.h5.parts").glob("memo-*.h5")])  # the state of the fit
    assert ended(process, signal.SIGTERM) < 4
    assert not (tmp_path / "out.h5").exists()


def test_under_nohup_a_hangup_is_nothing(folder):
    (folder / "sleeps.py").write_text(SLEEPS.replace("time.sleep(60)", "time.sleep(0.05)"))
    job = write_job(folder, model={"factory": "sleeps:build"})
    process = subprocess.Popen(
        [sys.executable, "-m", "xattr_cli", "run", str(job), "--quiet"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    while not (folder / "asleep").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 0, process.stderr.read()
    process.stderr.close()


@pytest.mark.parametrize("command", ["run", "plan", "inspect"])
@pytest.mark.parametrize("delay", [0.08, 0.15, 0.4])
def test_a_signal_in_the_first_seconds_gives_no_traceback(folder, command, delay):
    """Before 50 ms or so it is the interpreter itself that is interrupted, which says so in its own way."""
    job = write_job(folder)
    process = subprocess.Popen(
        [sys.executable, "-m", "xattr_cli", command, str(job)], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    status = Path(f"/proc/{process.pid}/status")

    def is_ours():
        lines = status.read_text().splitlines()
        caught = int(next(line.split()[1] for line in lines if line.startswith("SigCgt")), 16)
        imported = "click" in Path(f"/proc/{process.pid}/maps").read_text() or caught >> (signal.SIGTERM - 1) & 1
        return imported or process.poll() is not None

    deadline = time.monotonic() + delay * 5
    while command == "run" and not is_ours() and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(delay if command == "run" else 5 * delay)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode in ((0, 75) if command == "run" else (0, 2, -signal.SIGINT)), stderr
    assert "Traceback" not in stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
@pytest.mark.parametrize("arguments", [["inspect", "out.h5"], ["inspect", "out.h5", "--json"], ["engines"]])
def test_a_full_disk_under_the_output_is_one_line(tmp_path, arguments):
    write_data(tmp_path)
    run(write_job(tmp_path), "--quiet")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "xattr_cli", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "Error: the output cannot be written: No space left on device.\n")


def test_the_handlers_are_as_they_were_afterwards(folder):
    before = [signal.getsignal(number) for number in SIGNALS]
    assert invoke("run", write_job(folder), "--quiet").exit_code == 0
    assert [signal.getsignal(number) for number in SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1
