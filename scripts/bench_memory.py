"""Peak memory of a long job against that of a short one: it must not grow with the number of rows.

Example: python scripts/bench_memory.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from benchlib import ROOT, Table, publish, versions
from sklearn.datasets import load_digits

# nothing here imports torch: a process that is started from a large one begins its peak there

ALLOWED = 1.2
MEGABYTE = 1e6
JOB = """
model: {{kind: python, factory: "xattr_cli.models.zoo:digits_cnn", checkpoint: model.pt}}
dataset: {{kind: arrays, path: rows-{rows}.npy}}
engines:
  integrated_gradients: {{rtol: 0.05}}
  expected_gradients: {{rtol: 0.9, replicates: 3, replicate_size: 16}}
output: {{path: attributions-{rows}.h5}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs=2, default=[1_000, 10_000], metavar=("FEW", "MANY"))
    few, many = parser.parse_args().rows
    scratch = ROOT / "runs"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        subprocess.run([sys.executable, ROOT / "scripts" / "train_digits.py", folder], check=True)
        found = {rows: peak_of_run(Path(folder), rows) for rows in (few, many)}
    ratio = found[many][0] / found[few][0]
    table = Table(
        "Peak memory of a run",
        {"rows": ",d", "peak resident memory, MB": ".0f", "seconds": ".0f", "result file, MB": ".1f"},
        [(rows, peak / MEGABYTE, seconds, size / MEGABYTE) for rows, (peak, seconds, size) in found.items()],
        f"Integrated and expected gradients of digits, each run a process of its own; the longer job peaks at "
        f"{ratio:.3f} times the memory of the shorter one (allowed: {ALLOWED}).",
    )
    publish("memory", versions("torch", "h5py"), [table])
    if ratio > ALLOWED:
        sys.exit(f"memory grows with the rows: ratio {ratio:.3f}, allowed {ALLOWED}")


def peak_of_run(folder: Path, rows: int) -> tuple[int, float, int]:
    """Peak resident bytes, seconds, and bytes of the result, of a job of `rows` digits."""
    np.save(folder / f"rows-{rows}.npy", resampled_digits(rows))
    job = folder / f"job-{rows}.yaml"
    job.write_text(JOB.format(rows=rows))
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "xattr_cli", "run", job, "--quiet"])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"the run of {rows} rows failed with exit code {process.returncode}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, seconds, (folder / f"attributions-{rows}.h5").stat().st_size


def resampled_digits(rows: int) -> np.ndarray:
    """(rows, 1, 8, 8) float32: digits drawn with replacement, with some noise so that no two are equal."""
    random = np.random.default_rng(0)
    images = load_digits().images[random.integers(0, 1797, rows), None] / 16
    noisy = images + random.normal(0, 0.02, images.shape)
    return noisy.clip(0, 1).astype(np.float32)


if __name__ == "__main__":
    main()
