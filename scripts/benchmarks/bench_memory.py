"""Peak memory of jobs of more rows, nodes and targets, which must not grow, and under the cap `compute.memory`.

Example: python -m scripts.benchmarks.bench_memory
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from sklearn.datasets import load_digits

from scripts.benchmarks.benchlib import ROOT, Table, publish, versions

# nothing here imports torch: a process that is started from a large one begins its peak there

ALLOWED = 1.1
MEBIBYTE = 2**20
FEATURES, WIDE_ROWS = 20_000, 400
DIGITS = {"kind": "python", "factory": "xattr_cli.models.zoo:digits_cnn", "checkpoint": "model.pt"}
NETWORK = f"""
import torch

def build():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear({FEATURES}, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
"""
OPENING = """
import sys, xattr_cli.pipeline.run
from xattr_cli.job.config import load_job
from xattr_cli.pipeline.opening import open_session

with open_session(load_job(sys.argv[1])):
    pass
"""
COLUMNS = {
    "job": "", "rows": ",d", "gradients per row": ",.0f", "rows per call": "d", "rows at once": "d",
    "peak, MiB": ",.0f", "beyond start-up, MiB": ",.0f", "foretold at most, MiB": ",.0f", "seconds": ".0f",
}  # fmt: skip


@dataclass(frozen=True)
class Peak:
    """What a job took.

    Attributes:
        process: peak resident bytes of a process that ran it.
        bare: the same of a process that only opens it: imports, network, data, and checks on the first rows.
        rows: that were explained.
        evaluations: mean over the rows.
        plan: what `xattr-cli plan --json` says.
        seconds: of the process.
    """

    process: int
    bare: int
    rows: int
    evaluations: float
    plan: Mapping[str, Any]
    seconds: float

    @property
    def beyond(self) -> float:
        """MiB beyond the start-up."""
        return (self.process - self.bare) / MEBIBYTE

    def described(self, name: str) -> list[Any]:
        """A row of a table with `COLUMNS`."""
        plan, peak = self.plan, self.process / MEBIBYTE
        calls, foretold = (plan["batch_rows"], plan["rows_at_once"]), plan["working_bytes"] / MEBIBYTE
        return [name, self.rows, self.evaluations, *calls, peak, self.beyond, foretold, self.seconds]


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    scratch = ROOT / "runs"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        subprocess.run([sys.executable, "-m", "scripts.networks.train_digits", folder], check=True, cwd=ROOT)
        np.save(folder / "digits.npy", resampled_digits(10_000))
        (folder / "wide_network.py").write_text(NETWORK)
        wide = np.random.default_rng(0).normal(size=(WIDE_ROWS, FEATURES))
        np.save(folder / "wide.npy", wide.astype(np.float32))
        found = [of_rows(folder), of_nodes(folder), of_targets(folder), of_caps(folder)]
    publish("memory", versions("torch", "h5py"), [table for table, _ in found])
    faults = [fault for _, some in found for fault in some]
    if faults:
        sys.exit("\n".join(faults))


Found = tuple[Table, list[str]]
"""A table, and in words what should not have happened."""


def of_rows(folder: Path) -> Found:
    """A job of ten times as many rows."""
    few, many = (peak_of(folder, digits(f"rows-{rows}", {"rtol": 0.05}, rows)) for rows in (1_000, 10_000))
    note, faults = compared("rows", few, many, "The longer job")
    return Table("Rows", COLUMNS, [few.described("digits"), many.described("digits")], note), faults


def of_nodes(folder: Path) -> Found:
    """Jobs that take all the nodes they may, of which there are eight times as many."""
    lines, notes, faults = [], [], []
    for memory in ("auto", "32MiB"):
        jobs = [
            digits(f"nodes-{memory}-{count}", {"rtol": 1e-9, "max_nodes": count}, 512, memory)
            for count in (33, 257)
        ]
        few, many = (peak_of(folder, job) for job in jobs)
        lines += [few.described(f"digits, memory: {memory}"), many.described(f"digits, memory: {memory}")]
        note, fault = compared("nodes", few, many, f"With memory: {memory} the job of more nodes")
        notes.append(note)
        faults += fault
    notes.append(
        "What is remembered of a node is a sketch; as many rows are worked on at once as have room for theirs."
    )
    return Table("Nodes", COLUMNS, lines, " ".join(notes)), faults


def of_targets(folder: Path) -> Found:
    """Ten targets of each sample instead of one."""
    jobs = [{**digits(f"targets-{count}", {"rtol": 0.05}, 500), "target": {"top": count}} for count in (1, 10)]
    one, ten = (peak_of(folder, job) for job in jobs)
    note, faults = compared("targets", one, ten, "The job of ten targets")
    return Table("Targets", COLUMNS, [one.described("top 1"), ten.described("top 10")], note), faults


def of_caps(folder: Path) -> Found:
    """A network with so many inputs that its rows fill the memory."""
    lines, faults = [], []
    for memory in ("160MiB", "256MiB", "512MiB", "auto"):
        peak = peak_of(folder, wide(f"cap-{memory}", memory))
        lines.append(peak.described(f"memory: {memory}"))
        allowed = float(memory.removesuffix("MiB")) if memory != "auto" else 1024.0
        data = WIDE_ROWS * FEATURES * 4 / MEBIBYTE
        if peak.beyond - data > allowed:
            faults.append(f"memory: {memory}, but {peak.beyond:.0f} MiB were taken beyond start-up and data")
    note = (
        f"Random inputs of {FEATURES:,} features, {WIDE_ROWS} rows in one part. The file of {data:.0f} MiB "
        "is mapped, and counts among what is resident."
    )
    return Table("The cap compute.memory", COLUMNS, lines, note), faults


def compared(what: str, few: Peak, many: Peak, subject: str) -> tuple[str, list[str]]:
    """In words how the peaks compare, and whether that is a fault."""
    ratio = many.process / few.process
    faults = [f"memory grows with the {what}: ratio {ratio:.3f}, allowed {ALLOWED}"] if ratio > ALLOWED else []
    return f"{subject} peaks at {ratio:.3f} times the memory of the other one (allowed: {ALLOWED}).", faults


def digits(name: str, options: Mapping[str, Any], rows: int, memory: str = "auto") -> dict[str, Any]:
    """A job that explains the first digits."""
    dataset = {"kind": "arrays", "path": "digits.npy", "limit": rows}
    return job(name, DIGITS, dataset, options, memory)


def wide(name: str, memory: str) -> dict[str, Any]:
    """A job with long rows."""
    dataset = {"kind": "arrays", "path": "wide.npy"}
    model = {"kind": "python", "factory": "wide_network:build"}
    return job(name, model, dataset, {"rtol": 1e-3, "max_nodes": 65}, memory)


def job(name: str, model: Any, dataset: Any, options: Mapping[str, Any], memory: str) -> dict[str, Any]:
    """A job of integrated gradients, in float32 as a job of this length would not pay for trying anything else."""
    compute = {"device": "cpu", "threads": 1, "memory": memory, "arithmetic": "float32", "compile": False}
    engines = {"integrated_gradients": dict(options)}
    output = {"path": f"{name}.h5", "part_rows": 512}
    return {"model": model, "dataset": dataset, "engines": engines, "compute": compute, "output": output}


def peak_of(folder: Path, job: Mapping[str, Any]) -> Peak:
    """Open a job, run it, and plan it, each in a process of its own."""
    output = folder / job["output"]["path"]
    path = output.with_suffix(".json")
    path.write_text(json.dumps(job))  # JSON is YAML
    bare, _ = run(folder, "-c", OPENING, path)
    process, seconds = run(folder, "-m", "xattr_cli", "run", path, "--quiet")
    command = [sys.executable, "-m", "xattr_cli", "plan", path, "--json"]
    plan = subprocess.run(command, cwd=folder, env=environment(folder), check=True, capture_output=True, text=True)
    with h5py.File(output) as file:
        evaluations = file["engines/integrated_gradients/evaluations"][:]
    print(f"{output.stem}: {process / MEBIBYTE:.0f} MiB in {seconds:.0f} s", file=sys.stderr, flush=True)
    return Peak(process, bare, len(evaluations), float(evaluations.mean()), json.loads(plan.stdout), seconds)


def run(folder: Path, *arguments: str | Path) -> tuple[int, float]:
    """Peak resident bytes, and seconds, of a Python process."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], cwd=folder, env=environment(folder))
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{arguments[-1]} failed with exit code {process.returncode}")
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), time.perf_counter() - began


def environment(folder: Path) -> dict[str, str]:
    """Where the network's module is found."""
    return {**os.environ, "PYTHONPATH": str(folder)}


def resampled_digits(rows: int) -> np.ndarray:
    """(rows, 1, 8, 8) float32: digits drawn with replacement, with some noise so that no two are equal."""
    random = np.random.default_rng(0)
    images = load_digits().images[random.integers(0, 1797, rows), None] / 16
    noisy = images + random.normal(0, 0.02, images.shape)
    return noisy.clip(0, 1).astype(np.float32)


if __name__ == "__main__":
    main()
