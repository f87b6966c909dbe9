"""Population engines on their way from the job to the file: effects, rows that need them, shards, resumes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers.cli import datasets, invoke, parts_of, run, samples, write_data, write_job
from pydantic import Field

from xattr_cli.engines.base import Effects, Explanation, PopulationEngine
from xattr_cli.errors import JobError
from xattr_cli.registry import ENGINES
from xattr_cli.samples import InputSpec, feature_names
from xattr_cli.store.results.reader import Results

STEPS: list[str] = []


class MeanScore(PopulationEngine):
    """The mean score over the dataset, and per row the distance from the mean input."""

    rows: bool = False
    fail_at: str = ""
    tolerance: float = Field(default=1.0, ge=0)

    @property
    def explains_rows(self):
        return self.rows

    def check(self, population):
        if population.samples < 2:
            raise JobError("needs two samples or more")

    def expected_evaluations(self, population):
        return population.samples

    def study(self, population):
        sums = population.once("sums", lambda: self._sums(population))
        if self.fail_at == "end":
            raise ValueError("the end is near")
        if self.tolerance == 0:
            population.warn("nothing can be as exact as that")
        return Effects(
            values={
                "mean": sums["scores"] / sums["count"],
                "centre": sums["inputs"] / sums["count"],
                "features": population.names,
                "importance": np.abs(sums["inputs"]),
            },
            evaluations=int(sums["count"]),
            converged=self.tolerance > 0,
            axes={"mean": ("target",), "centre": ("feature",)},
        )

    def _sums(self, population):
        STEPS.append("sums")
        scores, inputs, count = 0.0, 0.0, 0
        for done, block in enumerate(population.blocks(rows=7), 1):
            scores = scores + population.scores(block.points, block.context).double().sum(dim=0)
            inputs = inputs + block.points.double().sum(dim=0)
            count += len(block)
            population.progress(done, 3)
        return {"scores": scores.numpy(), "inputs": inputs.numpy(), "count": np.array(count)}

    def explain(self, block, effects):
        centre = torch.from_numpy(effects["centre"]).to(block.inputs)
        nothing = block.inputs.new_zeros(len(block.rows))
        return Explanation(
            attribution=block.inputs - centre,
            relative_error=nothing,
            evaluations=nothing.long(),
            score_input=block.input_scores(),
        )


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Known to the tests of this file only."""
    monkeypatch.setattr(ENGINES, "_members", dict(ENGINES._members))
    ENGINES.register("mean_score")(MeanScore)


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path)
    STEPS.clear()
    return tmp_path


def test_effects_alone_make_a_result_without_rows(folder):
    out = run(write_job(folder, engines={"mean_score": None}))
    assert out.stdout.splitlines()[-1] == "mean_score  mean_score: converged, 20 evaluations"
    with Results.open(folder / "out.h5") as results:
        results.verify()
        assert len(results.rows) == 0 and not results.engines
        effects = results.effects["mean_score"]
        np.testing.assert_allclose(effects.values("centre"), samples()[0].astype(float).mean(axis=0), rtol=1e-6)
        assert effects.texts("features") == ("X[0]", "X[1]", "X[2]")
        assert effects.axes_of("mean") == ("target",)
        assert effects.targets.tolist() == [0, 1, 2, 3]
        assert effects.options == {"rows": False, "fail_at": "", "tolerance": 1.0}
        assert effects.importance.shape == (3,)


def test_effects_and_rows_share_a_file_and_a_row_sees_the_whole_dataset(folder):
    engines = {"saliency": None, "mean_score": {"rows": True}, "again": {"engine": "mean_score"}}
    run(write_job(folder, engines=engines, output={"part_rows": 6}))
    found = datasets(folder / "out.h5")
    x = samples()[0]
    np.testing.assert_allclose(found["engines/mean_score/attribution"], x - x.mean(axis=0), atol=1e-6)
    assert "engines/again/attribution" not in found
    np.testing.assert_array_equal(found["effects/again/mean"], found["effects/mean_score/mean"])
    assert len(found["engines/saliency/attribution"]) == 20


def test_shards_and_any_part_size_give_the_same_effects(folder):
    engines = {"mean_score": {"rows": True}, "saliency": None}
    run(write_job(folder, engines=engines, output={"part_rows": 5}))
    whole = datasets(folder / "out.h5")
    job = write_job(folder, "sharded.yaml", engines=engines, output={"path": "sharded.h5", "part_rows": 5})
    for shard in ("2/3", "1/3", "3/3"):
        run(job, "--shard", shard)
    assert len(parts_of(folder, "sharded.h5")) == 5
    assert invoke("merge", job).exit_code == 0
    sharded = datasets(folder / "sharded.h5")
    assert sharded.keys() == whole.keys()
    for name in whole:
        np.testing.assert_array_equal(sharded[name], whole[name])


def test_a_resumed_study_does_not_repeat_what_was_finished(folder, monkeypatch):
    job = write_job(folder, engines={"mean_score": None})

    def stumble(self, population):
        population.once("sums", lambda: self._sums(population))
        raise ValueError("the end is near")

    with monkeypatch.context() as patch:
        patch.setattr(MeanScore, "study", stumble)
        failed = invoke("run", job)
    assert failed.exit_code == 1
    assert "engine 'mean_score': ValueError: the end is near" in failed.stderr
    assert STEPS == ["sums"]
    run(job)
    assert STEPS == ["sums"]
    assert not (folder / "out.h5.parts").exists()
    found = datasets(folder / "out.h5")
    run(write_job(folder, "other.yaml", engines={"mean_score": None}, output={"path": "other.h5"}))
    assert STEPS == ["sums", "sums"]
    np.testing.assert_array_equal(
        datasets(folder / "other.h5")["effects/mean_score/mean"], found["effects/mean_score/mean"]
    )


def test_what_was_kept_for_another_job_is_not_taken(folder):
    job = write_job(folder, engines={"mean_score": {"fail_at": "end"}})
    assert invoke("run", job).exit_code == 1
    job = write_job(folder, engines={"mean_score": None})
    refused = invoke("run", job)
    assert refused.exit_code == 1 and "engines.mean_score.fail_at" in refused.stderr
    run(job, "--overwrite")
    assert STEPS == ["sums", "sums"]


def test_samples_that_are_not_finite_are_left_out_and_counted(folder):
    x, y = samples()
    x[3, 1] = np.nan
    write_data(folder, x, y)
    job = write_job(folder, engines={"mean_score": None}, dataset={"bad_rows": "quarantine"})
    outcome = run(job)
    assert "1 of 20 samples hold NaN or infinity, and are left out" in outcome.stdout
    with Results.open(folder / "out.h5") as results:
        effects = results.effects["mean_score"]
        np.testing.assert_allclose(
            effects.values("centre"), np.delete(x, 3, axis=0).astype(float).mean(axis=0), rtol=1e-6
        )
        assert effects.warnings == ("1 of 20 samples hold NaN or infinity, and are left out",)


def test_a_study_that_did_not_converge_is_told_by_strict(folder):
    job = write_job(folder, engines={"mean_score": {"tolerance": 0.0}})
    outcome = run(job, "--strict", code=3)
    assert "mean_score: NOT CONVERGED" in outcome.stdout
    assert "warning: nothing can be as exact as that" in outcome.stdout
    again = invoke("inspect", folder / "out.h5", "--json")
    assert json.loads(again.stdout)["effects"]["mean_score"]["converged"] is False


def test_a_population_engine_is_checked_before_anything_is_computed(folder):
    refused = invoke("run", write_job(folder, engines={"mean_score": None}, dataset={"limit": 1}))
    assert refused.exit_code == 2
    assert "engines.mean_score.needs two samples" in refused.stderr
    assert not STEPS


def test_plan_tells_the_cost_without_paying_it(folder):
    planned = invoke("plan", write_job(folder, engines={"mean_score": None, "saliency": None}))
    assert planned.exit_code == 0, planned.stderr
    assert not STEPS
    assert "evaluations  mean_score  about 20\n" in planned.stdout + "\n"


def test_features_are_named_by_the_dataset_or_by_their_place():
    names = InputSpec("X", (2,), np.dtype("f4"), features=("age", "dose"))
    image = InputSpec("image", (1, 2, 2), np.dtype("f4"), axes=("channel", "height", "width"))
    assert feature_names([names]) == ("age", "dose")
    assert feature_names([names, InputSpec("z", (2,), np.dtype("f4"))]) == ("X.age", "X.dose", "z[0]", "z[1]")
    assert feature_names([image])[1] == "image[channel 0, height 0, width 1]"
