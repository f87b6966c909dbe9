"""Running the real command line: in this process, or in a forked one that may be killed."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
import yaml
from click.testing import CliRunner

from helpers.blocks import digits, trained
from helpers.networks import CLASSES, FEATURES
from xattr_cli.cli import main

# --- jobs ---------------------------------------------------------------------------------------


def samples(rows=20, features=FEATURES, seed=0):
    """(rows, features) float32 and labels (rows,)."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (rows, features)).astype(np.float32), rng.integers(0, CLASSES, rows)


def write_job(folder, name="job.yaml", **sections):
    """A job file; each section replaces the default's, or a mapping its keys (None deletes one)."""
    job: dict[str, Any] = {
        "model": {"kind": "python", "factory": "helpers.networks:plain"},
        "dataset": {"kind": "arrays", "path": "data.npz", "labels": "y"},
        "engines": {"integrated_gradients": {}},
        "compute": {"device": "cpu"},
        "output": {"path": "out.h5"},
    }
    for key, value in sections.items():
        merge = isinstance(value, dict) and isinstance(job.get(key), dict) and key not in ("engines", "target")
        job[key] = {**job[key], **value} if merge else value
        if isinstance(job[key], dict):
            job[key] = {k: v for k, v in job[key].items() if v is not None or key == "engines"}
    path = folder / name
    path.write_text(yaml.safe_dump({k: v for k, v in job.items() if v is not None}, sort_keys=False))
    return path


def write_data(folder, x=None, y=None, name="data.npz", **arrays):
    if x is None and not arrays:
        x, y = samples()
    given = {"X": x, "y": y, **arrays}
    np.savez(folder / name, **{key: array for key, array in given.items() if array is not None})
    return folder / name


def digits_job(folder, rows, name="job.yaml", **sections):
    """A job on the trained digits CNN; its checkpoint and data lie in the folder."""
    images, labels = digits()[2][:rows].numpy(), digits()[3][:rows].numpy()
    if not (folder / "model.pt").exists():
        torch.save(trained("relu_cnn_maxpool").state_dict(), folder / "model.pt")
        np.savez(folder / "train.npz", X=digits()[0][:200].numpy())
    np.savez(folder / "data.npz", X=images, y=labels)
    background = {"kind": "samples", "dataset": {"kind": "arrays", "path": "train.npz"}}
    sections.setdefault("engines", {
        "saliency": None,
        "integrated_gradients": None,
        "interior_gradients": {"layers": ["pool", "hidden_relu"]},
        "expected_gradients": {"baseline": background, "replicate_size": 16, "rtol": 0.3},
    })  # fmt: skip
    model = {"factory": "xattr_cli.models.zoo:digits_cnn", "checkpoint": "model.pt", **sections.pop("model", {})}
    return write_job(folder, name, model=model, **sections)


# --- in this process ----------------------------------------------------------------------------


def invoke(*arguments, **options):
    """Outcome of `xattr-cli ARGUMENTS`: `exit_code`, `stdout`, `stderr`; an exception is a failure."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False, **options)


def run(*arguments, code=0, **options):
    """`xattr-cli run ARGUMENTS`, which must end with `code`."""
    outcome = invoke("run", *arguments, **options)
    assert outcome.exit_code == code, outcome.stderr
    return outcome


def explained(folder, *arguments, **sections):
    """Write the job, run it, and read the whole result: path of every dataset → array."""
    job = write_job(folder, **sections)
    run(job, "--overwrite", "--quiet", *arguments)
    return datasets(folder / "out.h5")


# --- in a process of its own --------------------------------------------------------------------


@dataclass
class Run:
    """A command in a forked process.

    Attributes:
        pid: process id; it stays taken until `wait` has seen its end.
        folder: of its output.
    """

    pid: int
    folder: Path
    code: int | None = None

    def poll(self):
        """Its exit code, negative for the signal that killed it; None while it runs."""
        if self.code is None:
            self.code = _server().ask(poll=self.pid)
        return self.code

    def wait(self, timeout=60.0):
        """Its exit code, when it has ended."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            assert time.monotonic() < deadline, "the process does not end"
            time.sleep(0.002)
        return code

    def wait_for(self, happened, timeout=60.0):
        """Wait until `happened()`, while the process is at work."""
        deadline = time.monotonic() + timeout
        while not happened():
            assert self.poll() is None, f"ended too early: {self.stderr}"
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def signal(self, number):
        os.kill(self.pid, number)

    @property
    def stdout(self):
        return (self.folder / "stdout").read_text()

    @property
    def stderr(self):
        return (self.folder / "stderr").read_text()


def fork(folder, *arguments, spare_memory=None):
    """Start `xattr-cli ARGUMENTS` in a process of its own.

    Arguments:
        folder: where its output goes.
        spare_memory: bytes of address space that it may take beyond what it starts with.
    """
    streams = {name: str(folder / name) for name in ("stdout", "stderr")}
    words = [str(argument) for argument in arguments]
    pid = _server().ask(arguments=words, spare_memory=spare_memory, **streams)
    return Run(pid, folder)


class _Server:
    """The process of `helpers.forking`."""

    def __init__(self):
        self._turn = threading.Lock()
        tests = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "helpers.forking"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tests,
        )  # fmt: skip
        assert self._answer() == "ready"
        atexit.register(self._close)

    def ask(self, **request):
        with self._turn:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        assert line, "the process that forks has died"
        return json.loads(line)

    def _close(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@cache
def _server():
    return _Server()


# --- results ------------------------------------------------------------------------------------


def datasets(path):
    """Every dataset of a file by path, as an array; texts as an object array."""
    found = {}
    with h5py.File(path, "r") as file:

        def visit(name, item):
            if isinstance(item, h5py.Dataset):
                is_text = h5py.check_string_dtype(item.dtype) is not None
                found[name] = item.asstr()[()] if is_text else item[()]

        file.visititems(visit)
    return found


def differences(path, other):
    """Paths of what is not the same in two files: datasets byte for byte, and attributes below the root."""
    one, two = datasets(path), datasets(other)
    unequal = [name for name in one.keys() | two.keys() if not _same(one.get(name), two.get(name))]
    with h5py.File(path, "r") as a, h5py.File(other, "r") as b:

        def visit(name, item):
            if name in b and _attributes(item) != _attributes(b[name]):
                unequal.append(f"attributes of {name}")

        a.visititems(visit)
    return sorted(unequal)


def _attributes(item):
    """Attributes but for the links between axes, whose Python objects are equal to nothing but themselves."""
    links = ("DIMENSION_LIST", "REFERENCE_LIST")
    return {name: np.asarray(value).tolist() for name, value in item.attrs.items() if name not in links}


def _same(one, two):
    if one is None or two is None or one.dtype != two.dtype or one.shape != two.shape:
        return False
    return one.tolist() == two.tolist() if one.dtype.kind == "O" else one.tobytes() == two.tobytes()


def relative(found, expected):
    """(rows,) ‖found − expected‖ / ‖expected‖ over all axes but the first; 0 where both are zero."""
    error, size = (
        np.linalg.norm(values.reshape(len(values), -1).astype(np.float64), axis=1)
        for values in (found - expected, expected)
    )
    return np.divide(error, size, out=np.where(error > 0, np.inf, 0.0), where=size > 0)


def parts_of(folder, name="out.h5"):
    """Finished parts of a job, by name."""
    return sorted(path.name for path in (folder / f"{name}.parts").glob("part-*.h5"))
