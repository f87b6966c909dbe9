"""Differences between two results: their figures against SciPy and NumPy on the raw files, and exit codes."""

from __future__ import annotations

import json
import shutil

import h5py
import numpy as np
import pytest
import torch
from helpers.blocks import digits
from helpers.cli import digits_job, invoke, run, write_data, write_job
from scipy.stats import rankdata, spearmanr
from torch import nn

from xattr_cli.export.compare.difference import compare
from xattr_cli.export.compare.maps import ROUNDING, ranks
from xattr_cli.export.compare.matching import match
from xattr_cli.models.zoo import digits_cnn
from xattr_cli.store.results.reader import Results

ROWS = 12
ENGINES = {"integrated_gradients": None, "saliency": None, "expected_gradients": {
    "baseline": {"kind": "samples", "dataset": {"kind": "arrays", "path": "train.npz"}},
    "rtol": 0.3, "replicate_size": 16,
}}  # fmt: skip


def trained_from(folder, seed, steps=60):
    """Leave the checkpoint of a digits network that was trained from this seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = digits_cnn()
        optimizer = torch.optim.Adam(network.parameters(), 1e-2)
        images, labels = digits()[:2]
        for _ in range(steps):
            batch = torch.randint(len(images), (64,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimizer.step()
    torch.save(network.state_dict(), folder / f"model-{seed}.pt")
    return f"model-{seed}.pt"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Results of the same job: twice of one network, once each of two others."""
    folder = tmp_path_factory.mktemp("digits")
    job = digits_job(folder, ROWS, engines=ENGINES, target="label")
    found = {}
    for name, sets in {
        "first": [],
        "again": ["compute.batch_rows=3"],
        "seed 1": [f"model.checkpoint={trained_from(folder, 1)}"],
        "seed 2": [f"model.checkpoint={trained_from(folder, 2)}"],
    }.items():
        found[name] = folder / f"{name.replace(' ', '-')}.h5"
        run(job, "--quiet", *(f"--set={each}" for each in [*sets, f"output.path={found[name]}"]))
    return found


def diff(a, b, *options, code=0):
    outcome = invoke("diff", a, b, *options)
    assert outcome.exit_code == code, outcome.stderr
    return outcome


def summary(a, b, *options):
    return json.loads(diff(a, b, "--json", *options).stdout)


def test_two_runs_of_one_job_do_not_differ(files):
    found = summary(files["first"], files["again"])
    assert found["changed"] == []
    assert found["rows"] == {"matched": ROWS, "only_a": 0, "only_b": 0, "matched_by": "sample"}
    assert found["predictions_moved"] == 0 and found["differing_share"] == 0
    for engine in found["engines"].values():
        assert engine["beyond_error_bars"] == engine["status_changed"] == 0
        assert engine["distance"]["max"] < ROUNDING
        assert engine["rank_correlation"]["min"] > 0.999
    assert "nothing: the same job" in diff(files["first"], files["again"], "--fail-over", "0%").stdout


@pytest.mark.parametrize("label", ENGINES)
def test_figures_equal_an_independent_computation(files, label):
    with h5py.File(files["seed 1"]) as a, h5py.File(files["seed 2"]) as b:
        one, two = a[f"engines/{label}"], b[f"engines/{label}"]
        maps_a, maps_b = (each["attribution"][()].reshape(ROWS, 64).astype(float) for each in (one, two))
        errors = [
            each["relative_error"][()] * np.linalg.norm(m, axis=1) for each, m in ((one, maps_a), (two, maps_b))
        ]
        change = np.abs(two["score_input"][()] - one["score_input"][()])
        moved = int((a["rows/prediction"][()] != b["rows/prediction"][()]).sum())
    apart = np.linalg.norm(maps_b - maps_a, axis=1)
    larger = np.maximum(np.linalg.norm(maps_a, axis=1), np.linalg.norm(maps_b, axis=1))
    correlation = [spearmanr(x, y).statistic for x, y in zip(maps_a, maps_b, strict=True)]
    flips = (np.sign(maps_a) * np.sign(maps_b) == -1).mean(axis=1)
    found = summary(files["seed 1"], files["seed 2"], "--worst", "2")
    engine = found["engines"][label]
    for name, expected in {
        "distance": apart / larger, "rank_correlation": correlation, "sign_flips": flips, "score_change": change,
    }.items():  # fmt: skip
        assert engine[name]["median"] == pytest.approx(np.median(expected), rel=1e-6)
        assert engine[name]["max"] == pytest.approx(np.max(expected), rel=1e-6)
    assert engine["beyond_error_bars"] == int((apart > sum(errors) + ROUNDING * larger).sum())
    assert engine["worst"][0]["row"] == int(np.argmax(apart / larger)) and len(engine["worst"]) == 2
    assert found["predictions_moved"] == moved
    assert [line.partition(":")[0] for line in found["changed"]] == ["model.checkpoint", "checkpoint_hash"]
    assert label == "expected_gradients" or engine["beyond_error_bars"] == ROWS


def test_large_error_bars_excuse_a_difference(files, tmp_path):
    """A row counts only if the distance is more than both bars together."""
    with h5py.File(files["seed 1"]) as a, h5py.File(files["seed 2"]) as b:
        one, two = (each["engines/integrated_gradients/attribution"][4].ravel().astype(float) for each in (a, b))
    least = np.linalg.norm(two - one) / (np.linalg.norm(one) + np.linalg.norm(two))
    for factor, expected in ((0.98, True), (1.02, False)):
        copies = []
        for name in ("seed 1", "seed 2"):
            copies.append(shutil.copy(files[name], tmp_path / f"{name}.h5"))
            with h5py.File(copies[-1], "r+") as file:
                file["engines/integrated_gradients/relative_error"][4] = factor * least
        with Results.open(copies[0]) as a, Results.open(copies[1]) as b:
            assert bool(compare(a, b).engines["integrated_gradients"].maps.beyond[4]) == expected


def test_a_new_network_fails_the_check(files):
    outcome = diff(files["first"], files["seed 2"], "--fail-over", "5%", code=3)
    assert "more than 5.0%" in outcome.stderr and "checkpoint_hash: was" in outcome.stdout
    diff(files["first"], files["seed 2"], "--fail-over", "1.0")
    assert invoke("diff", files["first"], files["again"], "--fail-over", "many").exit_code == 2


def test_outputs_that_only_one_explains_are_counted(files, tmp_path):
    job = digits_job(files["first"].parent, ROWS, name="top.yaml", engines={"saliency": None}, target={"top": 3})
    run(job, "--quiet", f"--set=output.path={tmp_path / 'top.h5'}")
    found = summary(files["first"], tmp_path / "top.h5")
    with h5py.File(tmp_path / "top.h5") as top, h5py.File(files["first"]) as first:
        pairs = {*zip(top["rows/sample"][()].tolist(), top["rows/target"][()].tolist(), strict=True)}
        shared = sum(pair in pairs for pair in zip(range(ROWS), first["rows/target"][()].tolist(), strict=True))
    assert found["rows"]["matched"] == shared
    assert found["rows"]["only_a"] == ROWS - shared and found["rows"]["only_b"] == 3 * ROWS - shared
    assert found["not_compared"]["integrated_gradients"].startswith("only in")
    assert found["differing_share"] == pytest.approx((ROWS - shared) / ROWS)


def test_samples_are_known_by_name_where_they_have_one(tmp_path):
    paths = []
    for name, keys in {"a": ["cat", "dog", "cow"], "b": ["cow", "cat", "hen"]}.items():
        write_data(tmp_path, np.eye(3, dtype=np.float32), name=f"{name}.npz")
        job = write_job(tmp_path, dataset={"path": f"{name}.npz", "labels": None}, target={"index": 1})
        run(job, "--quiet", f"--set=output.path={tmp_path / name}.h5")
        with h5py.File(tmp_path / f"{name}.h5", "r+") as file:
            file.create_dataset("samples/key", data=keys, dtype=h5py.string_dtype())
        paths.append(tmp_path / f"{name}.h5")
    with Results.open(paths[0]) as a, Results.open(paths[1]) as b:
        found = match([a, b])
        assert found.by == "key"
        assert [each.tolist() for each in found.rows] == [[0, 2], [1, 0]]
        assert compare(a, b).summary()["engines"]["integrated_gradients"]["worst"][0]["sample"] in ("cat", "cow")


def test_quarantined_rows_are_not_judged_and_a_changed_status_is_told(files, tmp_path):
    path = shutil.copy(files["first"], tmp_path / "nan.h5")
    with h5py.File(path, "r+") as file:
        file["engines/saliency/attribution"][3] = np.nan
        file["engines/saliency/status"][3] = 2
    found = summary(files["first"], path)["engines"]["saliency"]
    assert found["judged"] == ROWS - 1 and found["status_changed"] == 1 and found["beyond_error_bars"] == 0


def test_files_without_a_common_sample_are_refused(files, tmp_path):
    path = shutil.copy(files["first"], tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        file["rows/sample"][...] += 1000
    assert "no sample in common" in diff(files["first"], path, code=1).stderr


def test_ranks_are_those_of_scipy_with_ties():
    values = np.random.default_rng(0).integers(0, 5, (4, 30)).astype(float)
    np.testing.assert_array_equal(ranks(values), rankdata(values, axis=1))


# --- whole datasets ------------------------------------------------------------------------------


def test_studies_of_a_dataset_are_compared_in_their_standard_errors(tmp_path):
    write_data(tmp_path, np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32))
    found = []
    for seed in (0, 1):
        job = write_job(
            tmp_path,
            dataset={"labels": None},
            engines={"sobol": {"rtol": 0.5}},
            compute={"device": "cpu", "seed": seed},
        )
        run(job, "--quiet", f"--set=output.path={tmp_path / f'{seed}.h5'}")
        with h5py.File(tmp_path / f"{seed}.h5") as file:
            found.append({name: file[f"effects/sobol/{name}"][()] for name in ("total", "total_standard_error")})
    about = summary(tmp_path / "0.h5", tmp_path / "1.h5")
    total = about["effects"]["sobol"]["total"]
    apart = np.abs(found[1]["total"] - found[0]["total"])
    error = np.hypot(found[0]["total_standard_error"], found[1]["total_standard_error"])
    assert total["largest"] == pytest.approx(apart.max()) and apart.max() > 0
    assert total["in_standard_errors"] == pytest.approx(np.nanmax(apart / error))
    assert "total_standard_error" not in about["effects"]["sobol"]
    assert all(
        each["largest"] == 0 for each in summary(tmp_path / "0.h5", tmp_path / "0.h5")["effects"]["sobol"].values()
    )
    assert "in standard errors" in diff(tmp_path / "0.h5", tmp_path / "1.h5").stdout
