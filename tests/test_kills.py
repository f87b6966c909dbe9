"""Runs that are killed, interrupted or repeated end with the bytes of an uninterrupted one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.cli import differences, digits_job, fork, invoke, parts_of, run

PARTS, PART_ROWS = 12, 4
KILLS = 24


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the job `job.yaml`, its result `reference.h5`, and how long that took, in `seconds`."""
    folder = tmp_path_factory.mktemp("kills")
    # calls that suit parts of four rows
    job = digits_job(folder, PARTS * PART_ROWS, compute={"batch_rows": 128}, output={"part_rows": PART_ROWS})
    assert fork(folder, "--version").wait() == 0  # the process that forks shall not count
    started = time.monotonic()
    reference = fork(folder, "run", job, "--set", "output.path=reference.h5")
    assert reference.wait() == 0, reference.stderr
    (folder / "seconds").write_text(str(time.monotonic() - started))
    return folder


def start(folder, name, *arguments):
    """`xattr-cli run` in a process of its own, into the file `name`."""
    return fork(folder, "run", folder / "job.yaml", "--set", f"output.path={name}", *arguments)


def leftovers(folder, name):
    """What a finished run should not leave: parts, temporary files."""
    return [path.name for path in folder.iterdir() if path.name.startswith((f"{name}.parts", f".{name}"))]


def is_reference(folder, name):
    return differences(folder / name, folder / "reference.h5") == [] and leftovers(folder, name) == []


def test_differences_are_seen(folder, tmp_path):
    """The comparison that the tests below trust: a bit, a type, a missing dataset, an attribute."""
    original = (folder / "reference.h5").read_bytes()

    def changed(change):
        path = tmp_path / "changed.h5"
        path.write_bytes(original)
        with h5py.File(path, "r+") as file:
            change(file)
        return differences(path, folder / "reference.h5")

    at = "engines/saliency/attribution"
    assert changed(lambda file: None) == []

    def flip(file):
        file[at][3, 0, 4, 4] = np.nextafter(file[at][3, 0, 4, 4], np.float32(9))

    def retype(file):
        values = file[at][()].astype("f8")
        del file[at]
        file[at] = values

    assert changed(flip) == [at]
    assert at in changed(retype)
    assert changed(lambda file: file.__delitem__("rows/id")) == ["rows/id"]
    assert changed(lambda file: file["engines/saliency"].attrs.__setitem__("engine", "x")) == [
        "attributes of engines/saliency"
    ]


def test_killed_runs_end_with_the_bytes_of_an_uninterrupted_one(folder):
    duration = float((folder / "seconds").read_text())
    draw = random.Random(0)
    kills = in_mid_run = files = 0
    while kills < KILLS:
        name = f"killed{files}.h5"
        while not (folder / name).exists():
            process = start(folder, name)
            begun = len(parts_of(folder, name))
            wanted = min(begun + draw.randrange(4), PARTS)  # none more: killed while it starts
            while len(parts_of(folder, name)) < wanted and process.poll() is None:
                time.sleep(0.0005)
            # from the last part on there is the merge to be hit, and to be let pass at last
            time.sleep(draw.uniform(0, 1.5 * duration / PARTS if begun < PARTS else duration))
            process.signal(signal.SIGKILL)
            code = process.wait()
            assert code in (0, -signal.SIGKILL), process.stderr
            kills += code == -signal.SIGKILL
            in_mid_run += code == -signal.SIGKILL and 0 < len(parts_of(folder, name)) < PARTS
        last = start(folder, name)
        assert last.wait() == 0, last.stderr
        assert is_reference(folder, name)
        files += 1
    assert in_mid_run >= KILLS / 4  # on a busy machine more of them hit the start or the merge


@pytest.mark.parametrize("moment", ["manifest", "first part", "last part", "merging", "merged"])
def test_killed_at_every_turn(folder, moment):
    """Killed as soon as something is there; at least it must have happened before the end."""
    name = f"{moment.replace(' ', '-')}.h5"
    parts, output = folder / f"{name}.parts", folder / name
    last_part = parts / f"part-{PARTS - 1:05d}.h5"
    happened = {
        "manifest": (parts / "manifest.json").exists,
        "first part": (parts / "part-00000.h5").exists,
        "last part": last_part.exists,
        "merging": lambda: last_part.exists() and any(folder.glob(f".{name}.*.tmp")),
        "merged": output.exists,
    }[moment]
    process = start(folder, name)
    while not happened() and process.poll() is None:
        pass
    process.signal(signal.SIGKILL)
    code = process.wait()
    assert code == -signal.SIGKILL or moment in ("merging", "merged")
    again = start(folder, name)
    assert again.wait() == 0, again.stderr
    assert is_reference(folder, name)


def test_a_killed_shard_is_resumed_and_merged(folder):
    job, output = folder / "job.yaml", "output.path=sharded.h5"
    killed = start(folder, "sharded.h5", "--shard", "2/2")
    killed.wait_for(lambda: len(parts_of(folder, "sharded.h5")) >= 2)
    killed.signal(signal.SIGKILL)
    killed.wait()
    run(job, "--set", output, "--shard", "1/2", "--quiet")
    unfinished = invoke("merge", job, "--set", output)
    assert unfinished.exit_code == 1 and "run --shard 2/2 again" in unfinished.stderr
    run(job, "--set", output, "--shard", "2/2", "--quiet")
    assert invoke("merge", job, "--set", output).exit_code == 0
    assert is_reference(folder, "sharded.h5")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_with_75_and_the_same_command_goes_on(folder, number):
    name = f"{number.name}.h5"
    process = start(folder, name)
    process.wait_for(lambda: len(parts_of(folder, name)) >= 3)
    process.signal(number)
    assert process.wait() == 75
    assert f"{number.name}: stopped; finished parts are kept, the same command resumes." in process.stderr
    assert "Traceback" not in process.stderr and process.stdout == ""
    finished = parts_of(folder, name)
    assert 3 <= len(finished) < PARTS and not (folder / name).exists()
    assert list((folder / f"{name}.parts").glob(".*.tmp")) == []
    again = start(folder, name)
    assert again.wait() == 0, again.stderr
    assert f"{(PARTS - len(finished)) * PART_ROWS} rows to compute" in again.stderr
    assert is_reference(folder, name)


def catches(pid, number):
    """Whether a process has a handler for a signal, as Linux tells."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
    return bool(mask >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells which signals are caught")
def test_a_signal_while_torch_is_being_imported_ends_with_75_too(folder):
    """The whole command in a fresh interpreter, as a shell starts it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "xattr_cli", "run", folder / "job.yaml", "--set", "output.path=early.h5"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parent,
    )  # fmt: skip
    while not catches(process.pid, signal.SIGTERM):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 75, stderr
    assert stdout == "" and stderr.startswith("Error: SIGTERM: stopped")
    assert not (folder / "early.h5").exists() and not (folder / "early.h5.parts").exists()


def test_a_second_run_at_the_same_time_is_refused(folder):
    first = start(folder, "twice.h5")
    first.wait_for(lambda: parts_of(folder, "twice.h5") != [])
    second = start(folder, "twice.h5")
    assert second.wait() == 1
    assert f"at work already (process {first.pid} on " in second.stderr
    assert first.wait() == 0
    assert is_reference(folder, "twice.h5")


def test_a_finished_job_run_again_does_nothing(folder):
    before = (folder / "reference.h5").stat()
    outcome = run(folder / "job.yaml", "--set", "output.path=reference.h5")
    after = (folder / "reference.h5").stat()
    assert (after.st_mtime_ns, after.st_ino, after.st_size) == (before.st_mtime_ns, before.st_ino, before.st_size)
    assert "rows to compute" not in outcome.stderr
    assert "integrated_gradients" in outcome.stdout  # the table is printed again
    assert leftovers(folder, "reference.h5") == []
    assert '"computed": 0' in run(folder / "job.yaml", "--set", "output.path=reference.h5", "--json").stdout


def test_overwrite_computes_again_and_keeps_the_old_result_until_then(folder):
    name = "again.h5"
    os.link(folder / "reference.h5", folder / name)
    killed = start(folder, name, "--overwrite")
    killed.wait_for(lambda: len(parts_of(folder, name)) >= 5)
    killed.signal(signal.SIGTERM)
    assert killed.wait() == 75
    assert (folder / name).samefile(folder / "reference.h5")
    finished = len(parts_of(folder, name))
    again = start(folder, name, "--overwrite")  # the same command goes on, it does not start again
    assert again.wait() == 0
    assert f"{(PARTS - finished) * PART_ROWS} rows to compute" in again.stderr
    assert not (folder / name).samefile(folder / "reference.h5")
    assert is_reference(folder, name)


def test_overwrite_computes_parts_that_were_kept_again(folder):
    kept = ("--set", "output.keep_parts=true")
    assert start(folder, "kept.h5", *kept).wait() == 0
    assert len(parts_of(folder, "kept.h5")) == PARTS
    again = start(folder, "kept.h5", *kept, "--overwrite")
    assert again.wait() == 0
    assert f"{PARTS * PART_ROWS} rows to compute" in again.stderr
    assert differences(folder / "kept.h5", folder / "reference.h5") == []


def test_overwrite_replaces_the_parts_of_another_job(folder):
    other = start(folder, "other.h5", "--set", "compute.seed=1")
    other.wait_for(lambda: len(parts_of(folder, "other.h5")) >= 2)
    other.signal(signal.SIGTERM)
    assert other.wait() == 75
    refused = start(folder, "other.h5")
    assert refused.wait() == 1 and "compute.seed" in refused.stderr
    taken = start(folder, "other.h5", "--overwrite")
    assert taken.wait() == 0
    assert f"{PARTS * PART_ROWS} rows to compute" in taken.stderr
    assert is_reference(folder, "other.h5")
