"""Folds as one result: means, spreads and errors against NumPy, and what may not be averaged."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from helpers.blocks import trained
from helpers.cli import digits_job, invoke, run, write_data, write_job

from xattr_cli.store.results.reader import Results

ROWS = 5
ENGINES = {"integrated_gradients": None, "saliency": None}


@pytest.fixture(scope="module")
def folds(tmp_path_factory):
    """Results of three networks on the same pictures."""
    folder = tmp_path_factory.mktemp("folds")
    job = digits_job(folder, ROWS, engines=ENGINES, target="label")
    files = []
    for fold in range(3):
        generator = torch.Generator().manual_seed(fold)
        state = trained("relu_cnn_maxpool").state_dict()
        moved = {k: v + 0.2 * v.abs().mean() * torch.randn(v.shape, generator=generator) for k, v in state.items()}
        torch.save(moved, folder / f"model-{fold}.pt")
        files.append(folder / f"fold-{fold}.h5")
        run(job, "--quiet", f"--set=model.checkpoint=model-{fold}.pt", f"--set=output.path=fold-{fold}.h5")
    return files


def combined(files, folder, *options, code=0):
    outcome = invoke("combine", *files, "-o", folder / "mean.h5", *options)
    assert outcome.exit_code == code, outcome.stderr
    return outcome.stderr if code else folder / "mean.h5"


def test_means_spreads_and_errors(folds, tmp_path):
    path = combined(folds, tmp_path)
    read = [h5py.File(file) for file in folds]
    with h5py.File(path) as found:
        for label in ENGINES:
            maps = np.stack([file[f"engines/{label}/attribution"][()] for file in read]).astype(float)
            group = found[f"engines/{label}"]
            np.testing.assert_allclose(group["attribution"], maps.mean(0), rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(group["spread"], maps.std(0, ddof=1), rtol=1e-4, atol=1e-6)
            scores = np.stack([file[f"engines/{label}/score_input"][()] for file in read])
            np.testing.assert_allclose(group["score_input"], scores.mean(0))
            np.testing.assert_allclose(group["score_spread"], scores.std(0, ddof=1))
            norms = np.linalg.norm(maps.reshape(3, ROWS, -1), axis=2)
            errors = np.stack([file[f"engines/{label}/relative_error"][()] for file in read])
            bound = (errors * norms).mean(0) / np.linalg.norm(maps.mean(0).reshape(ROWS, -1), axis=1)
            np.testing.assert_allclose(group["relative_error"], bound, rtol=1e-5)
            total = sum(file[f"engines/{label}/evaluations"][()] for file in read)
            np.testing.assert_array_equal(group["evaluations"], total)
    for file in read:
        file.close()


def test_a_combined_file_is_a_result(folds, tmp_path):
    """It is summarised, drawn, exported, and opened by xarray with its axes."""
    path = combined(folds, tmp_path)
    about = json.loads(invoke("inspect", path, "--json").stdout)
    assert about["engines"]["integrated_gradients"]["converged"] == ROWS
    assert invoke("plot", path, "--samples", "2").exit_code == 0
    with Results.open(path) as results:
        sources = json.loads(results.attributes["combined_from"])
        assert [source["path"] for source in sources] == [str(file) for file in folds]
        assert (
            len({source["checkpoint_hash"] for source in sources} | {results.attributes["checkpoint_hash"]}) == 4
        )
    with xr.open_dataset(path, engine="h5netcdf", group="engines/saliency") as dataset:
        assert dataset.spread.dims == ("row", "channel", "height", "width")


def test_the_worst_status_counts(folds, tmp_path):
    copies = []
    for number, file in enumerate(folds):
        copies.append(tmp_path / f"copy-{number}.h5")
        copies[-1].write_bytes(file.read_bytes())
    with h5py.File(copies[1], "r+") as file:
        file["engines/integrated_gradients/status"][:3] = [1, 3, 2]
        file["engines/integrated_gradients/attribution"][2] = np.nan
    with h5py.File(combined(copies, tmp_path)) as found:
        group = found["engines/integrated_gradients"]
        assert group["status"][()].tolist() == [1, 3, 2, 0, 0]
        assert np.isnan(group["relative_error"][2]) and np.isnan(group["attribution"][2]).all()


def test_other_rows_are_refused_unless_the_common_ones_do(folds, tmp_path):
    job = digits_job(folds[0].parent, ROWS, name="few.yaml", engines=ENGINES, target="label", dataset={"limit": 3})
    run(job, "--quiet", f"--set=output.path={tmp_path / 'few.h5'}")
    message = combined([folds[0], tmp_path / "few.h5"], tmp_path, code=1)
    assert (
        "3 rows (sample and target) are in all files; fold-0.h5 has 2 others" in message and "--common" in message
    )
    with h5py.File(combined([folds[0], tmp_path / "few.h5"], tmp_path, "--common")) as found:
        assert found["rows/sample"][()].tolist() == [0, 1, 2]


def test_what_cannot_be_averaged_is_refused(folds, tmp_path):
    assert "two results or more" in combined(folds[:1], tmp_path, code=2)
    write_data(tmp_path)
    run(write_job(tmp_path, engines={"integrated_gradients": None}, target={"index": 1}), "--quiet")
    other = combined([folds[0], tmp_path / "out.h5"], tmp_path, code=1)
    assert "rows (sample and target) are in all files" in other
    assert "differ in shape" in combined([folds[0], tmp_path / "out.h5"], tmp_path, "--common", code=1)
    outcome = invoke("combine", *folds, "-o", folds[0], "--overwrite")
    assert outcome.exit_code == 2 and "one of the results" in outcome.stderr
