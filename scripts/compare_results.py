"""Compare the results of two versions of the program, dataset by dataset, to the byte.

Every job is run by each of the two source trees on this machine, with `compute:` pinned; then every dataset of the
two files must have the same type, shape and bytes. Networks and data are those that `make demo tables vowels
screening` leave in runs/.

Example: python -m scripts.compare_results ../before . --jobs digits iris chain vowels screening
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

__all__ = ["differences"]

ROOT = Path(__file__).resolve().parents[1]
PINNED = ("device=cpu", "threads=1", "arithmetic=float32", "compile=false", "memory_format=contiguous",
          "fold_batchnorm=false", "batch_rows=64")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trees", type=Path, nargs=2, help="source trees of the two versions")
    parser.add_argument("--jobs", nargs="+", default=["digits", "iris", "chain", "vowels", "screening"])
    options = parser.parse_args()
    unequal = 0
    with tempfile.TemporaryDirectory() as folder:
        for job in options.jobs:
            before, after = (
                result(tree.resolve(), job, Path(folder) / str(n)) for n, tree in enumerate(options.trees)
            )
            found = differences(before, after)
            with h5py.File(after) as file:
                count = len(datasets(file))
            print(
                f"{job}: {count} datasets, "
                + (f"{len(found)} differ: {', '.join(found)}" if found else "all equal")
            )
            unequal += bool(found)
    sys.exit(unequal > 0)


def result(tree: Path, job: str, folder: Path) -> Path:
    """The file that the program in a source tree makes of a job of this checkout."""
    output = folder / f"{job}.h5"
    folder.mkdir(parents=True, exist_ok=True)
    pins = [word for pin in PINNED for word in ("--set", f"compute.{pin}")]
    command = [sys.executable, "-m", "xattr_cli", "run", ROOT / "configs" / f"{job}.yaml", "--quiet", *pins,
               "--set", f"output.path={output}"]  # fmt: skip
    path = os.pathsep.join([str(tree), str(ROOT / "configs")])
    subprocess.run(command, check=True, cwd=folder, env={**os.environ, "PYTHONPATH": path})
    return output


def differences(before: Path, after: Path) -> list[str]:
    """Names of the datasets that are not the same to the byte in two result files."""
    with h5py.File(before) as one, h5py.File(after) as other:
        first, second = datasets(one), datasets(other)
        names = sorted({*first, *second})
        return [
            name
            for name in names
            if name not in first or name not in second or not same(first[name], second[name])
        ]


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Every dataset of a file by its path."""
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def same(one: h5py.Dataset, other: h5py.Dataset) -> bool:
    """Whether two datasets have the same type, shape and bytes."""
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    a, b = one[()], other[()]
    return (
        bool(np.array_equal(a, b)) if one.dtype == object else np.asarray(a).tobytes() == np.asarray(b).tobytes()
    )


if __name__ == "__main__":
    main()
