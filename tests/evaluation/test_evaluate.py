"""`xattr-cli evaluate` on real files: closed forms, brute force, company, what changed, what it says."""

from __future__ import annotations

import csv
import json
from itertools import combinations

import numpy as np
import pytest
import torch
from helpers.blocks import scorer_of
from helpers.cli import digits_job, fork, invoke, run
from helpers.evaluation import LOCAL, command, evaluate, maps, result, values
from scipy import stats

from xattr_cli.baselines import DatasetBackground, Mean, Zero
from xattr_cli.device import Rows
from xattr_cli.engines.base import Effects, PopulationEngine
from xattr_cli.engines.path.gradients import InputXGradient
from xattr_cli.errors import JobError
from xattr_cli.evaluation import EvaluationOptions, read_perturbation
from xattr_cli.evaluation.scoring import FeatureReplacement, perturbed_scores
from xattr_cli.registry import ENGINES

NETWORKS = '''
"""Networks of this folder."""
import torch
from torch import nn


class Linear(nn.Module):
    def forward(self, x):
        return x @ torch.tensor([[1.0, -2, 0.5, 3, 0], [0.3, 0.2, -4, 1, 1]], dtype=x.dtype).T + 1


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 3))


def with_context():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x, scale):
            return self.inner(x * scale)

    return Scaled()


def colours():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 2), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3))
'''
ROWS, FEATURES = 12, 5
ENGINE_LABELS = ("integrated_gradients", "saliency")
METRICS = ("pgu", "pgi", "deletion", "insertion")


class Given(PopulationEngine):
    """Importances that the job gives, one list for all targets or one per target."""

    importance: tuple[float, ...] | tuple[tuple[float, ...], ...] = ()
    maps: bool = False

    @property
    def explains_rows(self):
        return self.maps

    def study(self, population):
        values = {"importance": np.array(self.importance).T} if self.importance else {}
        return Effects(values={"nothing": np.zeros(1), "deep/order": np.arange(5.0), **values}, evaluations=0)

    def explain(self, block, effects):
        return InputXGradient().explain(block)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Known to the tests of this file only."""
    monkeypatch.setattr(ENGINES, "_members", dict(ENGINES._members))
    ENGINES.register("given")(Given)


def inputs(rows=ROWS, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (rows, FEATURES))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    np.savez(tmp_path / "data.npz", X=inputs())
    return tmp_path


# --- closed forms -------------------------------------------------------------------------------


def test_the_metrics_of_a_linear_network_are_known(folder):
    file = result(folder, "Linear", {"integrated_gradients": None})
    found = evaluate(file, *METRICS)
    weights = np.array([[1.0, -2, 0.5, 3, 0], [0.3, 0.2, -4, 1, 1]])
    contributions = (inputs()[:, None] * weights).reshape(-1, FEATURES)
    score = contributions.sum(axis=1) + 1
    magnitude = np.take_along_axis(contributions, np.abs(contributions).argsort(axis=1), axis=1)
    least, most = np.cumsum(magnitude, axis=1), np.cumsum(magnitude[:, ::-1], axis=1)
    falling = np.cumsum(-np.sort(-contributions, axis=1), axis=1)
    rising = np.cumsum(np.sort(contributions, axis=1), axis=1)

    def area(removed):
        curve = np.concatenate([score[:, None], score[:, None] - removed], axis=1)
        return (curve[:, 1:] + curve[:, :-1]).mean(axis=1) / 2

    expected = (np.abs(least).mean(axis=1), np.abs(most).mean(axis=1), area(falling), area(rising))
    for metric, numbers in enumerate(expected):
        np.testing.assert_allclose(values(found, metric)["integrated_gradients"], numbers, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_integrated_gradients_of_a_linear_network_predict_every_drop(folder, size):
    file = result(folder, "Linear", {"integrated_gradients": None, "saliency": None})
    found = values(evaluate(file, "sensitivity_n", sizes=(size,)))
    np.testing.assert_allclose(found["integrated_gradients"], 1, atol=1e-9)
    assert found["saliency"].mean() < 0.8 and abs(found["(random)"].mean()) < 0.5


def test_true_contributions_beat_a_random_order(folder):
    found = evaluate(result(folder, "Linear", {"integrated_gradients": None}), *METRICS)
    for measured in found.measurements:
        ((_, difference),) = measured.differences(found.samples).items()
        gain = difference.mean if measured.higher_is_better else -difference.mean
        assert gain > 2 * difference.standard_error, measured.metric


def test_the_baseline_of_a_map_is_the_replacement_that_it_predicts(folder):
    engine = {"integrated_gradients": {"baseline": {"kind": "mean"}}}
    file = result(folder, "Linear", engine)
    by_mean = evaluate(file, "sensitivity_n", perturbation=Mean())
    np.testing.assert_allclose(values(by_mean)["integrated_gradients"], 1, atol=1e-9)
    assert values(evaluate(file, "sensitivity_n"))["integrated_gradients"].min() < 0.9


# --- brute force --------------------------------------------------------------------------------


def loops(score, x, target, attribution, substitutes, metric):
    """A metric of one row, by loops over the definition; no two attributions are equal."""
    key = np.abs(attribution) if metric in ("pgu", "pgi") else attribution
    order = list(np.argsort(key))
    if metric in ("pgi", "deletion"):
        order.reverse()
    curve = []
    for k in range(len(x) + 1):
        seen = []
        for other in substitutes:
            point = x.copy()
            for feature in order[:k]:
                point[feature] = other[feature]
            now = score(point, target)
            seen.append(abs(score(x, target) - now) if metric in ("pgu", "pgi") else now)
        curve.append(np.mean(seen))
    if metric in ("pgu", "pgi"):
        return np.mean(curve[1:])
    return sum((a + b) / 2 for a, b in zip(curve[1:], curve[:-1], strict=True)) / len(x)


def correlated(score, x, target, attribution, substitutes, size):
    sums, drops = [], []
    for subset in combinations(range(len(x)), size):
        changed = []
        for other in substitutes:
            point = x.copy()
            point[list(subset)] = other[list(subset)]
            changed.append(score(point, target))
        sums.append(attribution[list(subset)].sum())
        drops.append(score(x, target) - np.mean(changed))
    return stats.pearsonr(sums, drops).statistic


def scorer(folder, factory="network"):
    namespace = {}
    exec((folder / "networks.py").read_text(), namespace)
    module = namespace[factory]().double().eval()

    def score(point, target):
        with torch.no_grad():
            return module(torch.from_numpy(point)[None])[0, target].item()

    return score


ALL_OTHERS = DatasetBackground(count=ROWS)
SUBSTITUTES = {
    "zero": (Zero(), lambda x, row: [np.zeros(FEATURES)]),
    "mean": (Mean(), lambda x, row: [x.mean(axis=0)]),
    "samples": (ALL_OTHERS, lambda x, row: np.delete(x, row, axis=0)),
}


@pytest.mark.parametrize("kind", SUBSTITUTES)
def test_every_metric_agrees_with_loops_over_its_definition(folder, kind):
    importance = (0.4, 0.1, 0.9, 0.2, 0.3)
    file = result(folder, engines={**LOCAL, "given": {"importance": importance}})
    perturbation, substitutes = SUBSTITUTES[kind]
    found = evaluate(file, *METRICS, "sensitivity_n", perturbation=perturbation, draws=ROWS, sizes=(2,))
    assert found.draws == (ROWS - 1 if kind == "samples" else 1)
    score, x = scorer(folder), inputs()
    for label in (*ENGINE_LABELS, "given"):
        attributions, targets = maps(file, label if label != "given" else "saliency")
        attributions = np.broadcast_to(importance, attributions.shape) if label == "given" else attributions
        for row in range(0, len(targets), 5):
            given = score, x[row // 3], targets[row], attributions[row], substitutes(x, row // 3)
            for number, metric in enumerate(METRICS):
                assert values(found, number)[label][row] == pytest.approx(loops(*given, metric), rel=1e-9)
            assert values(found, 4)[label][row] == pytest.approx(correlated(*given, 2), rel=1e-7)


def test_pixels_are_replaced_with_all_their_channels(folder):
    images = np.random.default_rng(0).uniform(-1, 1, (6, 2, 3, 3))
    np.savez(folder / "data.npz", X=images)
    file = result(folder, "colours", target={"index": 1})
    attribution, _ = maps(file, "integrated_gradients")
    score = scorer(folder, "colours")
    for unit, count in (("auto", 9), ("feature", 18)):
        found = evaluate(file, "pgi", unit=unit)
        assert found.units == count
        for row in range(6):
            total = attribution[row].sum(axis=0).ravel() if count == 9 else attribution[row].ravel()
            gaps, point = [], images[row].copy()
            for unit_number in np.argsort(-np.abs(total)):
                (
                    point.reshape(2, 9)[:, unit_number]
                    if count == 9
                    else point.reshape(18)[unit_number : unit_number + 1]
                )[:] = 0
                gaps.append(abs(score(images[row], 1) - score(point, 1)))
            assert values(found)["integrated_gradients"][row] == pytest.approx(np.mean(gaps), rel=1e-9)


def test_context_stays_that_of_the_row(folder):
    scale = np.random.default_rng(1).uniform(0.5, 2, (ROWS, 1))
    np.savez(folder / "data.npz", X=inputs(), s=scale)
    file = result(
        folder, "with_context", dataset={"inputs": ["X", "s"], "labels": None}, explain={"inputs": ["X"]}
    )
    score, x = scorer(folder), inputs()
    (attributions, targets), substitutes = maps(file, "integrated_gradients"), np.zeros((1, FEATURES))
    found = values(evaluate(file, "deletion"))["integrated_gradients"]
    for row in range(0, len(targets), 4):
        factor = scale[row // 3]
        expected = loops(lambda p, t, by=factor: score(p * by, t), x[row // 3], targets[row], attributions[row],
                         substitutes, "deletion")  # fmt: skip
        assert found[row] == pytest.approx(expected, rel=1e-9)


# --- global indices -----------------------------------------------------------------------------


def test_an_index_ranks_the_features_of_all_rows_of_its_target(folder):
    per_target = ((5.0, 4, 3, 2, 1), (3.0, 5, 1, 2, 4))
    file = result(
        folder, engines={"given": {"importance": per_target}, "saliency": None}, target={"index": [2, 0]}
    )
    found = evaluate(file, "pgi")
    score, x = scorer(folder), inputs()
    assert found.targets[:4].tolist() == [2, 0, 2, 0]
    for row, target in enumerate(found.targets):
        given = score, x[row // 2], target, np.array(per_target[row % 2]), np.zeros((1, FEATURES))
        assert values(found, 0)["given"][row] == pytest.approx(loops(*given, "pgi"), rel=1e-9)


def test_an_index_alone_is_evaluated_on_the_rows_that_the_job_stands_for(folder):
    per_target = ((5.0, 4, 3, 2, 1), (1.0, 2, 3, 4, 5), (3.0, 5, 1, 2, 4))
    file = result(folder, engines={"given": {"importance": per_target}})
    found = evaluate(file, "pgu")
    assert (
        found.targets.tolist() == [0, 1, 2] * ROWS and found.samples.tolist() == np.arange(ROWS).repeat(3).tolist()
    )
    score, x = scorer(folder), inputs()
    for row, number in enumerate(values(found)["given"]):
        target = row % 3
        given = score, x[row // 3], target, np.array(per_target[target]), np.zeros((1, FEATURES))
        assert number == pytest.approx(loops(*given, "pgu"), rel=1e-9)
    assert len(evaluate(file, overrides=["target={index: 1}"]).rows) == ROWS


def test_an_engine_with_maps_and_an_index_is_evaluated_twice(folder):
    engines = {"given": {"importance": (1.0, 2, 3, 4, 5), "maps": True}, "saliency": None}
    found = evaluate(result(folder, engines=engines))
    assert found.scopes == {
        "given": "local",
        "given (global)": "global",
        "saliency": "local",
        "(random)": "control",
    }
    assert np.abs(values(found)["given"] - values(found)["given (global)"]).max() > 0.01


def test_another_index_of_an_engine_is_named_after_it(folder):
    file = result(folder, engines={"given": {}, "saliency": None})
    found = evaluate(file, engines=("given/deep/order",))
    score, x = scorer(folder), inputs()
    for row in range(0, 36, 7):
        expected = loops(score, x[row // 3], row % 3, np.arange(5.0), np.zeros((1, FEATURES)), "pgu")
        assert values(found)["given/deep/order"][row] == pytest.approx(expected, rel=1e-9)
    refused = {
        "given/order": "no array 'order'. Allowed: ",
        "given/nothing": "'nothing' of engine 'given' has shape (1,); an index of the features has (5,)",
        "given/target_names": "has shape (3,)",
        "saliency/order": "engine 'saliency' left nothing for all rows",
        "given": "ranks features. It left ",
    }
    for name, message in refused.items():
        assert message in command(file, "--metric", "pgu", "--engine", name, code=2).stderr


def test_mean_maps_are_an_index_of_each_target(folder):
    file = result(folder)
    found = evaluate(file, averages=True, engines=("saliency",), limit=5)
    assert found.scopes == {"saliency": "local", "saliency (mean)": "global", "(random)": "control"}
    attributions, targets = maps(file, "saliency")
    score, x = scorer(folder), inputs()
    for place, row in enumerate(found.rows):
        mean = np.abs(attributions[targets == row % 3]).mean(axis=0)
        expected = loops(score, x[row // 3], row % 3, mean, np.zeros((1, FEATURES)), "pgu")
        assert values(found)["saliency (mean)"][place] == pytest.approx(expected, rel=1e-9)


def test_an_index_made_elsewhere_is_evaluated_beside_the_others(folder):
    file = result(folder, engines={"given": {"importance": (3.0, 1, 4, 1.5, 5)}})
    np.save(folder / "one.npy", np.array([3, 1, 4, 1.5, 5]))
    np.save(folder / "each.npy", np.random.default_rng(0).random((5, 3)))
    arguments = [
        "--metric",
        "pgu",
        "--importance",
        f"mine={folder}/one.npy",
        "--importance",
        f"e={folder}/each.npy",
    ]
    metric = json.loads(command(file, *arguments, "--json").stdout)["metrics"][0]
    means = {engine["engine"]: engine["mean"] for engine in metric["engines"]}
    assert means["mine"] == means["given"] != means["e"]
    np.save(folder / "short.npy", np.ones(4))
    np.save(folder / "bad.npy", np.full(5, np.nan))
    for given, message in {
        "mine": "must look like NAME=FILE.npy",
        f"mine={folder}/none.npy": "cannot be read",
        f"mine={folder}/networks.py": "cannot be read",
        f"given={folder}/one.npy": "--importance given: the name is taken",
        f"mine={folder}/short.npy": "--importance mine: has shape (4,); an index of the features has (5,)",
        f"mine={folder}/bad.npy": "--importance mine: does not hold finite numbers only",
    }.items():
        assert message in command(file, "--metric", "pgu", "--importance", given, code=2).stderr


# --- device -------------------------------------------------------------------------------------


def test_points_are_made_call_by_call():
    """However many rows, steps and draws: no call takes more points than the packing says, and few are padded."""
    calls = []

    class Watched(torch.nn.Linear):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    x = torch.randn(9, 4)
    rows = Rows(x, {}, torch.zeros(9, dtype=torch.int64), torch.arange(9))
    replacement = FeatureReplacement(torch.randn(5, 4), torch.arange(3).expand(9, 3))
    found = perturbed_scores(
        scorer_of(Watched(4, 2), x, rows=16),
        rows,
        replacement,
        torch.arange(4),
        lambda row, step: torch.arange(4) < step[:, None],
        steps=7,
    )
    assert found.shape == (9, 7, 3)
    assert max(calls) == 16 and sum(calls) < 9 * 7 * 3 + 16


# --- company ------------------------------------------------------------------------------------


@pytest.mark.parametrize("perturbation", [DatasetBackground(count=8), read_perturbation("{kind: uniform}", None)])
def test_a_row_never_depends_on_its_company(folder, perturbation):
    file = result(folder)
    options = {"perturbation": perturbation, "draws": 3, "sizes": (2,), "subsets": 6}
    whole = evaluate(file, "pgu", "deletion", "sensitivity_n", **options)
    some = evaluate(
        file, "sensitivity_n", "deletion", "pgu", limit=7, overrides=["compute.batch_rows=5"], **options
    )
    chosen = np.searchsorted(whole.rows, some.rows)
    assert some.rows.tolist() == [0, 6, 12, 18, 23, 29, 35]
    for number in range(3):
        for name, found in values(some, 2 - number).items():
            np.testing.assert_allclose(found, values(whole, number)[name][chosen], rtol=1e-9, err_msg=name)
    alone = evaluate(file, "pgu", engines=("saliency",), **{**options, "sizes": ()})
    np.testing.assert_allclose(values(alone)["saliency"], values(whole)["saliency"], rtol=1e-9)
    np.testing.assert_allclose(values(alone)["(random)"], values(whole)["(random)"], rtol=1e-9)


def test_another_seed_changes_the_draws_and_not_what_is_not_drawn(folder):
    file = result(folder)
    one, other = evaluate(file), evaluate(file, overrides=["compute.seed=1"])
    np.testing.assert_array_equal(values(one)["saliency"], values(other)["saliency"])
    assert (values(one)["(random)"] != values(other)["(random)"]).mean() > 0.5


def test_a_draw_is_never_the_row_itself(folder):
    np.savez(folder / "data.npz", X=inputs(2))
    found = evaluate(result(folder), "pgi", perturbation=DatasetBackground(count=2), draws=8)
    assert found.draws == 1
    assert (values(found)["saliency"] > 1e-3).all()


# --- rows that cannot be compared ---------------------------------------------------------------


def test_quarantined_rows_are_left_out_for_all(folder):
    x = inputs()
    x[4, 2] = np.nan
    np.savez(folder / "data.npz", X=x)
    file = result(folder, dataset={"labels": None, "bad_rows": "quarantine"})
    outcome = command(file, "--metric", "pgu", "--metric", "sensitivity_n", "--json")
    for metric in json.loads(outcome.stdout)["metrics"]:
        assert (metric["rows"], metric["left_out"]) == (33, 3)
        assert all(np.isfinite(engine["mean"]) for engine in metric["engines"])
    assert "pgu: 3 rows left out" in command(file, "--metric", "pgu").stdout


# --- what has changed since ---------------------------------------------------------------------


@pytest.fixture
def with_checkpoint(folder):
    """A result that depends on a checkpoint beside the job."""
    namespace = {}
    exec(NETWORKS, namespace)
    torch.save(namespace["network"]().state_dict(), folder / "weights.pt")
    return result(folder, engines={"saliency": None}, model={"checkpoint": "weights.pt"})


def test_another_checkpoint_is_refused_by_name(with_checkpoint):
    weights = with_checkpoint.parent / "weights.pt"
    state = torch.load(weights)
    state["0.bias"] += 1
    torch.save(state, weights)
    text = command(with_checkpoint, "--metric", "pgu", code=2).stderr
    assert "was computed from another state of the checkpoint [" in text and "the dataset" not in text
    assert "give --changed" in text
    command(with_checkpoint, "--metric", "pgu", "--changed")


def test_other_data_are_refused_by_name(with_checkpoint):
    np.savez(with_checkpoint.parent / "data.npz", X=inputs(seed=1))
    text = command(with_checkpoint, "--metric", "pgu", code=2).stderr
    assert "was computed from another state of the dataset [" in text and "checkpoint" not in text


SCALED = """
from pathlib import Path
from torch import nn

class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.factor = float((Path(__file__).parent / "factor.txt").read_text())

    def forward(self, x):
        return x[:, :3] * self.factor

def scaled():
    return Scaled()
"""


def test_a_network_that_gives_other_scores_by_the_same_code_is_refused(folder):
    (folder / "networks.py").write_text(SCALED)
    (folder / "factor.txt").write_text("1")
    file = result(folder, "scaled", {"saliency": None})
    (folder / "factor.txt").write_text("2")
    text = command(file, "--metric", "pgu", code=2).stderr
    assert "has the score" in text and "for row 0, but the network now gives" in text
    command(file, "--metric", "pgu", "--changed")


def test_other_code_is_refused_by_its_module(with_checkpoint):
    networks = with_checkpoint.parent / "networks.py"
    networks.write_text(NETWORKS.replace("nn.Tanh()", "nn.Sigmoid()"))
    arguments = ("evaluate", with_checkpoint, "--trust", "--folder", networks.parent, "--metric", "pgu")
    refused = fork(networks.parent, *arguments)
    assert refused.wait() == 2
    assert "was computed from another state of module networks: was [" in refused.stderr
    assert fork(networks.parent, *arguments, "--changed").wait() == 0


def test_a_moved_checkpoint_is_named_and_can_be_pointed_at(with_checkpoint):
    folder = with_checkpoint.parent
    (folder / "weights.pt").rename(folder / "moved.pt")
    text = command(with_checkpoint, "--metric", "pgu", code=2).stderr
    assert "weights.pt" in text and "--set model.checkpoint=PATH" in text
    found = command(with_checkpoint, "--metric", "pgu", "--set", "model.checkpoint=moved.pt", "--json")
    assert json.loads(found.stdout)["rows"] == 36


def test_modules_beside_the_job_are_found_by_folder(folder):
    file = result(folder, engines={"saliency": None})
    elsewhere = fork(folder, "evaluate", file, "--trust", "--metric", "pgu")
    assert elsewhere.wait() == 2
    assert "module 'networks' was not found" in elsewhere.stderr and "--folder DIR" in elsewhere.stderr
    assert fork(folder, "evaluate", file, "--trust", "--metric", "pgu", "--folder", folder).wait() == 0


def test_another_score_is_what_the_user_asked_for(folder):
    file = result(folder, engines={"saliency": None})
    raw, share = (evaluate(file, "deletion", overrides=o) for o in ((), ["score=probability"]))
    assert share.score == "probability" and raw.score == "auto"
    assert (values(share)["saliency"] > 0).all() and (values(share)["saliency"] < 1).all()


def test_fewer_data_than_rows_are_refused(folder):
    file = result(folder)
    assert (
        "row 35 lies beyond the dataset, which now stands for 15 rows"
        in command(file, "--metric", "pgu", "--set", "dataset.limit=5", code=2).stderr
    )


# --- errors -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A result of two engines that is not changed."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "networks.py").write_text(NETWORKS)
    np.savez(folder / "data.npz", X=inputs())
    return result(folder)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "pgo"], "--metric 'pgo': unknown metric 'pgo'. Allowed: attribution_localisation,"),
        (["--metric", "pgu", "--engine", "salience"], "no engine 'salience'. Allowed: integrated_gradients,"),
        (["--metric", "pgu", "--perturbation", "zer"], "unknown baseline kind 'zer'"),
        (["--metric", "pgu", "--perturbation", "blur"], "--perturbation 'blur'"),
        (["--metric", "pgu", "--perturbation", "{kind: constant, valu: 1}"], "valu: 1: unknown key. Allowed:"),
        (["--metric", "pgu", "--perturbation", "[1"], "is not valid YAML"),
        (["--metric", "pgu", "--unit", "pixel"], "no explained input has an axis 'channel'"),
        (["--metric", "sensitivity_n", "--n", "5"], "--n 5: must be from 1 to 4: there are 5 units"),
        (["--metric", "pgu", "--n", "2"], "(--n) goes with metrics of subsets only: sensitivity_n,"),
        (["--metric", "pgu", "--set", "engines={}"], "engines is settled by"),
        (["--metric", "pgu", "--set", "target=label"], "target is settled by"),
        (["--metric", "pgu", "--set", "compute.devise=cpu"], "compute.devise: 'cpu': unknown key. Allowed:"),
        (["--metric", "pgu", "--output", "/nowhere/rows.csv"], "the folder /nowhere does not exist"),
    ],
)  # fmt: skip
def test_what_cannot_be_evaluated_is_refused_before_anything_is_computed(plain, arguments, message):
    assert message in command(plain, *arguments, code=2).stderr


def test_no_metric_is_a_usage_error(plain):
    outcome = invoke("evaluate", plain)
    assert outcome.exit_code == 2 and "Missing option '--metric'" in outcome.stderr


def test_a_replacement_equal_to_the_inputs_is_refused(folder):
    np.savez(folder / "data.npz", X=np.zeros((4, FEATURES)))
    text = command(result(folder, engines={"saliency": None}), "--metric", "pgu", code=2).stderr
    assert "--perturbation zero: equals the inputs in all of the first 12 rows" in text


def test_a_file_without_rankings_says_so(folder):
    file = result(folder, engines={"given": {}})
    assert (
        "holds no maps and no importances that could be evaluated (given)"
        in command(file, "--metric", "pgu", code=2).stderr
    )
    assert (
        "engine 'given' has neither maps nor importances"
        in command(file, "--metric", "pgu", "--engine", "given", code=2).stderr
    )


def test_importances_of_another_shape_are_refused(folder):
    file = result(folder, engines={"given": {"importance": (1.0, 2.0)}})
    text = command(file, "--metric", "pgu", code=2).stderr
    assert "'importance' of engine 'given' has shape (2,); an index of the features has (5,)," in text


def test_a_missing_file_is_named(tmp_path):
    outcome = invoke("evaluate", tmp_path / "none.h5", "--metric", "pgu")
    assert outcome.exit_code == 2 and "none.h5: no such file" in outcome.stderr


def test_an_inquiry_needs_numbers_from_one_on():
    with pytest.raises(JobError, match="steps: 0 is less than 1"):
        EvaluationOptions(metrics=("pgu",), steps=0)
    with pytest.raises(JobError, match="at least one"):
        EvaluationOptions(metrics=())


# --- what it says -------------------------------------------------------------------------------


def test_table_json_and_csv_agree(plain, tmp_path):
    rows = tmp_path / "rows.csv"
    asked = ["--metric", "pgu", "--metric", "sensitivity_n", "--n", "1", "--n", "2", "--output", rows]
    summary = json.loads(command(plain, *asked, "--json").stdout)
    with rows.open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == summary["rows"] == 36 and summary["samples"] == ROWS
    assert list(lines[0])[:4] == ["row", "sample", "target", "pgu integrated_gradients"]
    assert [line["target"] for line in lines[:4]] == ["0", "1", "2", "0"]
    for metric in summary["metrics"]:
        title = metric["metric"] + (f" n={metric['n']}" if "n" in metric else "")
        for engine in metric["engines"]:
            numbers = [float(line[f"{title} {engine['engine']}"]) for line in lines]
            assert engine["mean"] == pytest.approx(np.mean(numbers), rel=1e-12)
    pgu = summary["metrics"][0]
    assert (pgu["better"], pgu["replaced"]) == ("lower", [0, 1, 2, 3, 4, 5])
    for engine in pgu["engines"]:
        assert engine["curve"][0] == 0
        assert engine["mean"] == pytest.approx(np.mean(engine["curve"][1:]))
    assert {(d["engine"], d["minus"]) for d in pgu["differences"]} == set(
        combinations(("integrated_gradients", "saliency", "(random)"), 2)
    )
    table = command(plain, *asked).stdout
    for text in (
        "sensitivity_n n=2",
        "(random)",
        "integrated_gradients − saliency",
        "5 features replaced by zero",
    ):
        assert text in table


def test_differences_are_paired(plain):
    found = evaluate(plain)
    measured = found.measurements[0]
    one, other = (values(found)[label] for label in ENGINE_LABELS)
    difference = measured.differences(found.samples)[ENGINE_LABELS]
    per_sample = (one - other).reshape(ROWS, 3).mean(axis=1)
    assert difference.mean == pytest.approx(per_sample.mean())
    assert difference.standard_error == pytest.approx(stats.sem(per_sample))


def test_progress_goes_to_stderr_and_the_answer_to_stdout(plain):
    outcome = invoke("evaluate", plain, "--trust", "--folder", plain.parent, "--metric", "pgu", "--json")
    assert "36/36 rows" in outcome.stderr
    assert json.loads(outcome.stdout)["evaluations"] > 0


def test_a_trained_network_is_followed_better_by_gradients_along_a_path_than_by_chance(tmp_path):
    run(digits_job(tmp_path, 40, engines={"integrated_gradients": None, "saliency": None}), "--quiet")
    outcome = invoke(
        "evaluate", tmp_path / "out.h5", "--trust", *(f"--metric={name}" for name in METRICS), "--json"
    )
    for metric in json.loads(outcome.stdout)["metrics"]:
        sign = 1 if metric["better"] == "higher" else -1
        against = {d["engine"]: d for d in metric["differences"] if d["minus"] == "(random)"}
        assert (
            sign * against["integrated_gradients"]["mean"] > 10 * against["integrated_gradients"]["standard_error"]
        )
        (pair,) = [d for d in metric["differences"] if d["minus"] == "saliency"]
        assert sign * pair["mean"] > 0
