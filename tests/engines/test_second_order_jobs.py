"""Jobs with second-order engines: what is repaired, smoothed, planned and told, from the YAML to `inspect`."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.cli import datasets, invoke, run, write_data, write_job
from torch import nn

from xattr_cli.engines.interactions.expected_hessians import ExpectedHessians
from xattr_cli.engines.interactions.integrated_hessians import IntegratedHessians
from xattr_cli.job.config import load_job
from xattr_cli.pipeline.opening import open_session
from xattr_cli.pipeline.planning import plan_job, plan_text

AT = "engines/integrated_hessians"
TARGET = {"index": 0}


class ReluWords(nn.Module):
    """Ids (n, L) → (n, 2): embedded, rectified, and multiplied across the steps."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(12, 4)
        self.mix = nn.Linear(4, 6)
        self.head = nn.Linear(6, 2)

    def forward(self, ids):
        return self.head(torch.relu(self.mix(self.embed(ids).sum(1))))


def relu_words():
    return ReluWords()


class Sorted(nn.Module):
    """(n, 4) → (n, 1) by way of an operation whose kinks have no smooth form."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(torch.topk(x, 4).values ** 2)


def sorting():
    return Sorted()


def mlp(activation, inputs=4):
    kwargs = {"inputs": inputs, "hidden": [8], "outputs": 1, "activation": activation}
    return {"factory": "xattr_cli.models.zoo:mlp", "kwargs": kwargs}


def job(folder, model, engines=None, dataset=None, **sections):
    if not (folder / "data.npz").exists():
        write_data(folder, np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32))
    given = {"integrated_hessians": {}} if engines is None else engines
    return write_job(folder, model=model, engines=given, target=TARGET,
                     dataset={"labels": None, **(dataset or {})}, **sections)  # fmt: skip


@pytest.mark.parametrize("engine", [IntegratedHessians, ExpectedHessians])
def test_both_engines_say_that_they_need_second_derivatives(engine):
    assert engine().second_order


@pytest.mark.parametrize("engine", ["integrated_hessians", "expected_hessians"])
def test_a_job_repairs_its_network_for_second_derivatives(engine, tmp_path):
    write_data(tmp_path, np.random.default_rng(0).normal(size=(20, 4, 8)).astype(np.float32))
    path = job(tmp_path, {"factory": "helpers.layers:encoder"}, {engine: {"groups": "time"}})
    with open_session(load_job(str(path))) as session:
        assert any("math kernel" in note for note in session.scorer.repairs.notes)
    path = job(tmp_path, {"factory": "helpers.layers:encoder"}, {"integrated_gradients": {}})
    with open_session(load_job(str(path))) as session:
        assert not any("math kernel" in note for note in session.scorer.repairs.notes)


def test_drift_is_stored_for_every_row_and_told_by_inspect(tmp_path):
    run(job(tmp_path, mlp("relu")), "--quiet")
    found = datasets(tmp_path / "out.h5")
    drift = found[f"{AT}/smoothing_drift"]
    assert drift.shape == (6,) and drift.all() and found[f"{AT}/smoothing_drift_baseline"].shape == (6,)
    told = json.loads(invoke("inspect", tmp_path / "out.h5", "--json").stdout)["engines"]["integrated_hessians"]
    assert told["interactions"]["shape"] == [4, 4]
    assert told["interactions"]["smoothing_drift_max"] == pytest.approx(np.abs(drift).max(), rel=1e-6)
    assert told["interactions"]["smoothing_drift_median"] == pytest.approx(np.median(np.abs(drift)), rel=1e-6)
    assert told["interactions"]["replaced"] == ["relu -> softplus(β=10) ×1"]
    text = invoke("inspect", tmp_path / "out.h5").stdout
    assert f"smoothed, relu -> softplus(β=10) ×1; moves scores by {np.median(np.abs(drift)):.2g} (median)" in text
    assert "integrated_hessians: 4 × 4 interactions a row, row sums within" in text


def test_a_smooth_network_and_a_first_order_method_have_nothing_to_tell(tmp_path):
    run(job(tmp_path, mlp("tanh"), {"integrated_hessians": {}, "integrated_gradients": {}}), "--quiet")
    told = json.loads(invoke("inspect", tmp_path / "out.h5", "--json").stdout)["engines"]
    assert told["integrated_gradients"]["interactions"] is None
    assert told["integrated_hessians"]["interactions"]["smoothing_drift_max"] is None
    assert "smoothed" not in invoke("inspect", tmp_path / "out.h5").stdout


def test_what_follows_an_explained_embedding_is_smoothed(tmp_path):
    write_data(tmp_path, np.random.default_rng(0).integers(0, 12, (5, 3)))
    path = job(tmp_path, {"factory": "test_second_order_jobs:relu_words"},
               {"integrated_hessians": {"groups": "tokens"}}, explain={"embedding": "auto"})  # fmt: skip
    run(path, "--quiet")
    found = datasets(tmp_path / "out.h5")
    matrix = found[f"{AT}/interaction"]
    assert matrix.shape == (5, 3, 3) and found[f"{AT}/smoothing_drift"].all()
    assert (np.abs(matrix[:, 0, 1]) > 1e-6).all()  # a ReLU as it is would leave zeros
    change = found[f"{AT}/score_input"] - found[f"{AT}/score_baseline"]
    assert matrix.sum((1, 2)) == pytest.approx(change, abs=0.02 * np.abs(change).max())


def test_parts_are_as_small_as_their_matrices_demand(tmp_path):
    write_data(tmp_path, np.random.default_rng(0).normal(size=(4, 500)).astype(np.float32))
    for options, rows in (({}, 33), ({"row": 3}, 1024), ({"top": 9}, 1024)):
        path = job(tmp_path, mlp("tanh", 500), {"integrated_hessians": options})
        with open_session(load_job(str(path))) as session:
            assert session.parts.part_rows == rows, options
    path = job(tmp_path, mlp("tanh", 500), {"integrated_gradients": {}})
    with open_session(load_job(str(path))) as session:
        assert session.parts.part_rows == 1024


def test_the_way_of_second_derivatives_is_settled_with_the_plan_and_followed(tmp_path):
    with open_session(load_job(str(job(tmp_path, mlp("tanh"))))) as session:
        (key,) = session.settled["curvature"]
        settled = {**session.settled, "execution": {}, "curvature": {key: {"way": "one_by_one", "lanes": 3}}}
        (found,) = session.following(settled).scorer.curvatures.values()
        assert (found.how.way, found.how.lanes) == ("one_by_one", 3)


def test_the_plan_tells_a_result_that_the_disk_cannot_hold(tmp_path):
    plan = plan_job(load_job(str(job(tmp_path, mlp("tanh")))))
    assert plan.disk_bytes >= 6 * (4 * 4 + 4) * 4 and "TOO LARGE" not in plan_text(plan)
    text = plan_text(replace(plan, disk_bytes=60 * 2**30, disk_free_bytes=100 * 2**30))
    assert "TOO LARGE    only 100.0 GiB are free there" in text and "fewer rows or groups" in text


def told(path):
    """What a run that is refused says."""
    outcome = invoke("run", path)
    assert outcome.exit_code == 2, outcome.stdout
    return outcome.stderr


def test_a_compiled_network_cannot_be_differentiated_twice(tmp_path):
    text = told(job(tmp_path, mlp("tanh"), compute={"compile": True}))
    assert "compute.compile: true: " in text and "engines.integrated_hessians differentiates it twice" in text


def test_what_cannot_be_smoothed_is_named_with_its_way_out(tmp_path):
    text = told(job(tmp_path, {"factory": "test_second_order_jobs:sorting"}))
    assert "engines.integrated_hessians.smoothing" in text and "topk" in text and "allow" in text


def test_kinks_are_refused_if_they_are_to_be(tmp_path):
    text = told(job(tmp_path, mlp("relu"), {"integrated_hessians": {"smoothing": "refuse"}}))
    assert "engines.integrated_hessians.smoothing: the network has kinks" in text and "relu" in text
