"""A million rows: every table and array is exported within a gigabyte, whatever the result holds."""

from __future__ import annotations

import subprocess
import sys

import h5py
import numpy as np
import pytest
import yaml

from xattr_cli.store.axes import name_axes
from xattr_cli.store.columns import STRINGS, create_dataset

ROWS, FEATURES = 1_000_000, 8
PROGRAM = """
import resource, sys
from xattr_cli.cli import main
main(sys.argv[1:], standalone_mode=False)
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A result of a million rows with names, inputs and two engines, as a run leaves it."""
    path = tmp_path_factory.mktemp("large") / "large.h5"
    rng = np.random.default_rng(0)
    texts = {
        "samples/key": [f"name {i:07}" for i in range(ROWS)],
        "inputs/X/features": [f"feature {i}" for i in range(FEATURES)],
        "explained": ["X"],
        "classes": list("abc"),
    }
    numbers = {"rows/id": np.arange(ROWS), "rows/sample": np.arange(ROWS), "samples/index": np.arange(ROWS)}
    numbers |= {f"rows/{name}": rng.integers(0, 3, ROWS) for name in ("label", "target", "prediction")}
    numbers["inputs/X/values"] = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    for label in ("one", "two"):
        at = f"engines/{label}"
        numbers[f"{at}/attribution"] = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
        per_row = ("score_input", "score_baseline", "completeness_gap", "relative_error")
        numbers |= {f"{at}/{name}": rng.random(ROWS) for name in per_row}
        numbers |= {f"{at}/evaluations": np.full(ROWS, 9), f"{at}/status": np.zeros(ROWS, np.int8)}
    with h5py.File(path, "w") as opened:
        job = {"engines": {label: {"engine": "integrated_gradients"} for label in ("one", "two")}}
        opened.attrs.update({"format": "xattr-cli/1", "job": yaml.safe_dump(job)})
        for name, values in {**numbers, **{k: np.array(v, dtype=object) for k, v in texts.items()}}.items():
            first = "sample" if name.startswith(("samples", "inputs/X/v")) else "row"
            axes = (
                () if name in ("explained", "classes", "inputs/X/features") else (first, "feature")[: values.ndim]
            )
            dtype = STRINGS if values.dtype == object else values.dtype
            create_dataset(opened, name, values.shape, dtype, axes=axes)[()] = values
        name_axes(opened)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "csv", "npz", "netcdf", "zarr", "anndata", "quantus", "shap-json"])
def test_a_million_rows_take_less_than_a_gigabyte(file, tmp_path, form):
    options = {"parquet": ["--top", "5"], "csv": ["--top", "5"]}.get(form, [])
    options += ["--engine", "one"] if form in ("quantus", "shap-json") else []
    arguments = ["export", str(file), "--to", form, "-o", str(tmp_path / "exported"), *options]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 1_000_000  # KiB
