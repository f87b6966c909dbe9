"""More engines or more samples of a finished job: only what is new is computed, and all of it is right."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from helpers.cli import datasets, differences, digits_job, invoke, run

import xattr_cli.pipeline.explain as explaining
from xattr_cli.device import Scorer
from xattr_cli.errors import StoreError
from xattr_cli.store import PartSet
from xattr_cli.store.results.reader import Results

ROWS = 10
IG = {"integrated_gradients": {"rtol": 0.02}}
BOTH = {**IG, "saliency": None}
SMALL = {"path": "out.h5", "part_rows": 4}


def job(folder, engines, rows=ROWS, name="job.yaml", **sections):
    given = {"target": {"index": 3}, "output": SMALL, "dataset": {"limit": rows}, **sections}
    return digits_job(folder, ROWS, name=name, engines=engines, **given)


def alone(folder, engines, **options):
    """The same job in a file of its own, from the start."""
    run(
        job(folder, engines, name="alone.yaml", **options),
        "--quiet",
        "--set",
        f"output.path={folder / 'alone.h5'}",
    )
    return folder / "alone.h5"


@pytest.fixture
def explained(monkeypatch):
    """(labels, rows, gradients) of every piece that engines explain."""
    calls, gradients = [], []
    original, of_call = explaining._columns, Scorer.gradients_of_call

    def columns(session, rows, engines, *others):
        gradients.clear()
        found = original(session, rows, engines, *others)
        calls.append((tuple(engines), (rows.start, rows.stop), sum(gradients)))
        return found

    def counted(self, points, context, targets, rows):
        gradients.append(sum(map(len, targets)))
        return of_call(self, points, context, targets, rows)

    monkeypatch.setattr(explaining, "_columns", columns)
    monkeypatch.setattr(Scorer, "gradients_of_call", counted)
    return calls


def test_an_added_engine_is_all_that_is_computed(tmp_path, explained):
    run(job(tmp_path, IG), "--quiet")
    first = datasets(tmp_path / "out.h5")
    assert sum(gradients for _, _, gradients in explained) > 5 * ROWS
    explained.clear()
    outcome = run(job(tmp_path, BOTH))
    assert {labels for labels, _, _ in explained} == {("saliency",)}
    assert sum(gradients for _, _, gradients in explained) == ROWS  # one a row
    assert f"reused: integrated_gradients of {ROWS} rows; computed: saliency of all rows" in outcome.stderr
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["engines/saliency/evaluations"][()].tolist() == [1] * ROWS
    after = datasets(tmp_path / "out.h5")
    for name in first:
        if name.startswith(("engines/integrated_gradients", "rows", "inputs")):
            np.testing.assert_array_equal(after[name], first[name])
    whole = alone(tmp_path, BOTH)
    assert json.loads(invoke("diff", tmp_path / "out.h5", whole, "--json").stdout)["changed"] == []


def test_a_raised_limit_computes_the_new_samples_only(tmp_path, explained):
    run(job(tmp_path, BOTH, rows=6), "--quiet")
    explained.clear()
    outcome = run(job(tmp_path, BOTH))
    of_engines = [piece for labels, piece, _ in explained if labels]
    assert (
        sum(stop - start for start, stop in of_engines) == ROWS - 6 and min(start for start, _ in of_engines) == 6
    )
    assert "reused: integrated_gradients, saliency of 6 rows; computed: all engines of 4 rows" in outcome.stderr
    found = json.loads(invoke("diff", tmp_path / "out.h5", alone(tmp_path, BOTH), "--json").stdout)
    assert found["rows"]["matched"] == ROWS and found["changed"] == []
    assert all(engine["distance"]["max"] < 1e-5 for engine in found["engines"].values())


@pytest.mark.parametrize("target, outputs", [({"index": [5, 3, 0]}, [5, 3, 0]), ("all", list(range(10)))])
@pytest.mark.parametrize("part_rows", [4, 7])
def test_an_added_output_is_all_that_is_computed(tmp_path, explained, target, outputs, part_rows):
    """Rows of the same sample lie side by side, old and new ones; parts end anywhere."""
    storage = {"path": "out.h5", "part_rows": part_rows}
    run(job(tmp_path, IG, target={"index": [3, 5]}, rows=7, output=storage), "--quiet")
    explained.clear()
    outcome = run(job(tmp_path, BOTH, target=target, output=storage))
    of_ig = sum(stop - start for labels, (start, stop), _ in explained if "integrated_gradients" in labels)
    assert of_ig == ROWS * len(outputs) - 14
    assert "reused: integrated_gradients of 14 rows" in outcome.stderr
    whole = alone(tmp_path, BOTH, target=target, output=storage)
    found, expected = datasets(tmp_path / "out.h5"), datasets(whole)
    assert found.keys() == expected.keys()
    assert found["rows/target"].tolist() == outputs * ROWS
    for name, values in expected.items():
        if values.dtype.kind == "f":
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-4, err_msg=name)
        elif not name.endswith("evaluations"):
            assert found[name].tolist() == values.tolist(), name


def test_both_at_once(tmp_path):
    run(job(tmp_path, IG, rows=5), "--quiet")
    run(job(tmp_path, {**BOTH, "interior_gradients": None}), "--quiet")
    with h5py.File(tmp_path / "out.h5") as file:
        assert set(file["engines"]) == {"integrated_gradients", "saliency", "interior_gradients"}
        assert all(len(group["attribution"]) == ROWS for group in file["engines"].values())
        assert file["rows/id"][()].tolist() == list(range(ROWS))
        assert file["samples/index"][()].tolist() == list(range(ROWS))
    assert json.loads(invoke("inspect", tmp_path / "out.h5", "--json").stdout)["rows"] == ROWS


def test_the_extended_result_is_recognised_as_finished(tmp_path, explained):
    run(job(tmp_path, IG), "--quiet")
    run(job(tmp_path, BOTH), "--quiet")
    before = datasets(tmp_path / "out.h5")
    explained.clear()
    run(job(tmp_path, BOTH), "--quiet")
    assert explained == []
    assert datasets(tmp_path / "out.h5").keys() == before.keys()
    assert differences(tmp_path / "out.h5", tmp_path / "out.h5") == []


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"engines": {"integrated_gradients": {"rtol": 0.01}, "saliency": None}},
            "engines.integrated_gradients.rtol: was 0.02, now 0.01",
        ),
        ({"engines": {"saliency": None}}, "engines.integrated_gradients"),
        ({"engines": BOTH, "target": {"index": 4}}, "target.index"),
        ({"engines": BOTH, "target": "predicted"}, "target"),
        ({"engines": BOTH, "score": "probability"}, "score"),
        ({"engines": IG, "rows": 4}, "dataset.limit: was 10, now 4"),
        ({"engines": BOTH, "compute": {"device": "cpu", "seed": 1}}, "compute.seed"),
    ],
)
def test_other_numbers_reuse_nothing_and_the_reason_is_named(tmp_path, change, message):
    run(job(tmp_path, IG), "--quiet")
    before = (tmp_path / "out.h5").read_bytes()
    outcome = invoke("run", job(tmp_path, **change), "--quiet")
    assert outcome.exit_code == 1 and message in outcome.stderr and "result of another job" in outcome.stderr
    assert (tmp_path / "out.h5").read_bytes() == before


def test_overwrite_computes_everything(tmp_path, explained):
    run(job(tmp_path, IG), "--quiet")
    explained.clear()
    run(job(tmp_path, BOTH), "--quiet", "--overwrite")
    assert {labels for labels, _, _ in explained} == {("integrated_gradients", "saliency")}


def test_a_damaged_result_is_not_handed_on(tmp_path, caplog):
    run(job(tmp_path, IG), "--quiet")
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file["engines/integrated_gradients/attribution"][5] += 1
    outcome = invoke("run", job(tmp_path, BOTH), "--quiet")
    assert outcome.exit_code == 1 and "--overwrite" in outcome.stderr
    assert "nothing is reused" in caplog.text and "is not what was written" in caplog.text


def test_rows_whose_target_moved_are_computed_again(tmp_path, explained, monkeypatch):
    """Such as predicted classes on another device."""
    monkeypatch.setattr(Results, "verify_checksums", lambda self: 0)
    run(job(tmp_path, IG, target="predicted"), "--quiet")
    with h5py.File(tmp_path / "out.h5", "r+") as file:
        file["rows/target"][5] += 1
    explained.clear()
    run(job(tmp_path, BOTH, target="predicted"), "--quiet")
    pieces = [(labels, piece) for labels, piece, _ in explained]
    assert (("integrated_gradients", "saliency"), (4, 8)) in pieces
    assert (("integrated_gradients", "saliency"), (0, 4)) not in pieces


def test_a_run_that_was_stopped_goes_on_and_the_old_result_stays_until_then(tmp_path, explained, monkeypatch):
    run(job(tmp_path, IG), "--quiet")
    before = (tmp_path / "out.h5").read_bytes()
    write = PartSet.write

    def stopping(self, part, *arguments):
        if part == 1:
            raise StoreError("the disk is full")
        write(self, part, *arguments)

    monkeypatch.setattr(PartSet, "write", stopping)
    assert invoke("run", job(tmp_path, BOTH), "--quiet").exit_code == 1
    assert (tmp_path / "out.h5").read_bytes() == before
    monkeypatch.setattr(PartSet, "write", write)
    explained.clear()
    run(job(tmp_path, BOTH), "--quiet")
    assert [piece for _, piece, _ in explained] == [(4, 8), (8, 10)]
    assert len(datasets(tmp_path / "out.h5")["engines/saliency/attribution"]) == ROWS


def test_shards_extend_a_result_together(tmp_path):
    run(job(tmp_path, IG), "--quiet")
    path = job(tmp_path, BOTH)
    for shard in ("1/2", "2/2"):
        run(path, "--quiet", "--shard", shard)
    assert invoke("merge", path).exit_code == 0
    found = json.loads(invoke("diff", tmp_path / "out.h5", alone(tmp_path, BOTH), "--json").stdout)
    assert found["rows"]["matched"] == ROWS and found["differing_share"] == 0
