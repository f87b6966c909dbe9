"""Contributions to the variance: errors in exact cases, estimators at equal cost, SALib, speed and memory.

Example: python -m scripts.benchmarks.bench_icc --seeds 20
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import yaml

from scripts.benchmarks.benchlib import ROOT, Table, publish, versions

# nothing here imports torch at first: a process that is started from a large one begins its peak there

MEGABYTE = 1e6
REPETITIONS = 3
RUNS = {
    "the start alone": (12, {"samples": 8, "rtol": 0.9}),
    "12 inputs, all subsets, 2,048 draws": (12, {"estimator": "exact", "samples": 2048, "max_evaluations": 2**23}),
    "12 inputs, walks, the same evaluations": (12, {"estimator": "walk", "max_evaluations": 2**23, "rtol": 1e-9}),
    "12 inputs, as it comes": (12, {}),
    "50 inputs, as it comes": (50, {}),
    "50 inputs along a graph, as it comes": (50, {"scm": "known:chain", "graph": "graph.yaml"}),
}
KNOWN = """import torch


def chain(noise):
    x = noise.clone()
    for j in range(2, noise.shape[1]):
        x[:, j] += 0.5 * x[:, j - 1] - 0.3 * x[:, j - 2]
    return x
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="per case (default: 20)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch finds them)")
    options = parser.parse_args()
    speed = speed_table(options.threads)
    estimators: Any = importlib.import_module("scripts.benchmarks.bench_icc_estimators")
    names = ("exact_table", "design_table", "salib_table")
    tables = [getattr(estimators, name)(options.seeds) for name in names]
    publish("icc", {**versions("torch", "SALib"), "threads": options.threads or "default"}, [*tables, speed])


def speed_table(threads: int | None) -> Table:
    """Wall time and peak memory of whole runs of the command, each a process of its own."""
    scratch = ROOT / "runs"
    scratch.mkdir(exist_ok=True)
    rows = []
    with tempfile.TemporaryDirectory(dir=scratch) as name:
        folder = Path(name)
        for title, (inputs, options) in RUNS.items():
            for memory in ("1GiB", "64MiB") if "all subsets" in title else ("1GiB",):
                runs = [_run(folder, inputs, options, memory, threads) for _ in range(REPETITIONS)]
                peak, seconds, found = min(runs, key=lambda one: one[1])
                rows.append((title, memory, found["evaluations"], found["half_width"], seconds, peak / MEGABYTE))
    return Table(
        "Speed and memory of `icc` on a ReLU network 64-64",
        {"job": "", "compute.memory": "", "evaluations": ",d", "± share (95 %)": ".4f", "whole command, s": ".1f",
         "peak resident memory, MB": ".0f"},
        rows,
        f"The fastest of {REPETITIONS} runs, start included; the start alone is the first line. `±` is the widest "
        "95 % interval of a share when the run ended.",
    )  # fmt: skip


def _run(
    folder: Path, inputs: int, options: Mapping[str, Any], memory: str, threads: int | None
) -> tuple[int, float, dict[str, Any]]:
    """Peak resident bytes, seconds, and what the run found."""
    job = _write_job(folder, inputs, options, memory, threads)
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "xattr_cli", "run", job, "--quiet", "--overwrite"])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"the run failed with exit code {process.returncode}")
    with h5py.File(folder / "out.h5") as file:
        group = file["effects/icc"]
        found = {
            "evaluations": int(group.attrs["evaluations"]),
            "half_width": float(group["half_width"][0]),
        }
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024), seconds, found


def _write_job(folder: Path, inputs: int, options: Mapping[str, Any], memory: str, threads: int | None) -> Path:
    names = [f"x{j}" for j in range(inputs)]
    points = np.random.default_rng(0).normal(size=(1000, inputs)).astype(np.float32)
    np.save(folder / "data.npy", points)
    (folder / "known.py").write_text(KNOWN)
    graph = {name: names[max(0, j - 2) : j] if j > 1 else [] for j, name in enumerate(names)}
    (folder / "graph.yaml").write_text(yaml.safe_dump(graph))
    job = {
        "model": {
            "kind": "python",
            "factory": "xattr_cli.models.zoo:mlp",
            "kwargs": {"inputs": inputs, "hidden": [64, 64], "outputs": 1},
        },
        "dataset": {"kind": "arrays", "path": "data.npy", "features": names},
        "engines": {"icc": dict(options)},
        "compute": {"device": "cpu", "memory": memory, **({"threads": threads} if threads else {})},
        "output": {"path": "out.h5"},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(job, sort_keys=False))
    return path


if __name__ == "__main__":
    main()
