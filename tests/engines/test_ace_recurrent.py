"""Average causal effects of every step of a sequence: recurrent networks, lengths, and feedback."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.ace import Formula, InMemory, Kept, population_of, study
from torch import nn

from xattr_cli.device.padding import real_key
from xattr_cli.engines.ace.data import REAL
from xattr_cli.engines.ace.engine import AverageCausalEffects
from xattr_cli.errors import JobError
from xattr_cli.models.zoo import sequence_classifier
from xattr_cli.registry import SCORES
from xattr_cli.samples import InputSpec, Layout

STEPS, CHANNELS = 5, 2


def sequences(count=60, steps=STEPS, channels=CHANNELS, seed=0):
    random = np.random.default_rng(seed)
    return torch.tensor(random.normal(size=(count, steps, channels)).cumsum(axis=1) / 2)


def recurrent(cell="gru", outputs=3, seed=0, bidirectional=False):
    torch.manual_seed(seed)
    inner = sequence_classifier(CHANNELS, 6, outputs, cell=cell, bidirectional=bidirectional)
    return nn.Sequential(inner, nn.Softmax(dim=1)).double()


# --- every step an input ------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "bidirectional"), [("gru", False), ("lstm", False), ("lstm", True)])
def test_both_estimates_of_recurrent_networks_are_right(cell, bidirectional):
    network, points = recurrent(cell, bidirectional=bidirectional), sequences()
    options = {"estimator": "both", "alphas": 8, "covariance": {"retained": 1}}
    values = study(network, points, options=options, axes=("time", "channel"))
    assert values["ace"].shape == (STEPS * CHANNELS, 8, 3)
    assert values["layout/inputs"] == (f"X={STEPS}x{CHANNELS}",)
    assert values["layout/axes"] == ("time", "channel")
    flat, mean = points.flatten(1), points.flatten(1).mean(dim=0)
    covariance = torch.from_numpy(np.cov(flat.T, bias=True))
    for feature in (0, 3, 9):
        sigma = covariance.clone()
        sigma[feature], sigma[:, feature] = 0, 0
        alpha = values["alpha"][feature, 2]
        at, data = mean.clone(), flat.clone()
        at[feature], data[:, feature] = alpha, alpha
        scores = network(data.view(-1, STEPS, CHANNELS)).mean(dim=0)
        np.testing.assert_allclose(values["empirical"][feature, 2], scores.detach(), atol=1e-12)
        for target in range(3):
            hessian = torch.autograd.functional.hessian(
                lambda x, t=target: network(x.view(1, STEPS, CHANNELS))[0, t], at
            )
            expected = network(at.view(1, STEPS, CHANNELS))[0, target] + (hessian * sigma).sum() / 2
            assert values["taylor"][feature, 2, target] == pytest.approx(expected.item(), abs=1e-10)


# --- lengths ------------------------------------------------------------------------------------


class Packed(nn.Module):
    """Reads as many steps of each sequence as its length says."""

    def __init__(self, mask=False):
        super().__init__()
        torch.manual_seed(1)
        self.inner = nn.LSTM(CHANNELS, 5, batch_first=True, bidirectional=True)
        self.readout = nn.Linear(10, 2)
        self.mask = mask

    def forward(self, x, lengths):
        if self.mask:
            lengths = lengths.sum(dim=1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, (state, _) = self.inner(packed)
        return self.readout(torch.cat(list(state), dim=1)).tanh()


def padded(count=50, fill=0.0):
    points = sequences(count)
    lengths = torch.tensor(np.random.default_rng(3).integers(2, STEPS + 1, count))
    points[torch.arange(STEPS) >= lengths[:, None]] = fill
    return points, lengths


def by_hand(network, points, lengths, feature, alpha):
    """Empirical mean and Taylor estimate at one α, length by length."""
    step = feature // CHANNELS
    empirical, taylor, total = torch.zeros(2), torch.zeros(2), 0
    for length in range(step + 1, STEPS + 1):
        rows = points[lengths == length]
        if not len(rows):
            continue
        given = torch.full((len(rows),), length)
        flat = rows.flatten(1)
        data, mean = flat.clone(), flat.mean(dim=0)
        data[:, feature], mean[feature] = alpha, alpha
        covariance = torch.from_numpy(np.cov(flat.T, bias=True))
        covariance[feature], covariance[:, feature] = 0, 0
        one = torch.tensor([length])
        value = network(mean.view(1, STEPS, CHANNELS), one)[0].detach()
        for target in range(2):
            hessian = torch.autograd.functional.hessian(
                lambda x, t=target, n=one: network(x.view(1, STEPS, CHANNELS), n)[0, t], mean
            )
            value[target] += (hessian * covariance).sum() / 2
        taylor = taylor + len(rows) * value
        empirical = empirical + network(data.view(-1, STEPS, CHANNELS), given).sum(dim=0).detach()
        total += len(rows)
    return empirical / total, taylor / total, total


@pytest.mark.parametrize("mask", [False, True])
def test_a_step_counts_only_in_sequences_that_reach_it(mask):
    points, lengths = padded()
    network = Packed().double()
    masked = Packed(mask).double()
    given = (torch.arange(STEPS) < lengths[:, None]).long() if mask else lengths
    options = {"estimator": "both", "alphas": 8, "lengths": "n", "covariance": {"retained": 1}}
    values = study(masked, points, options=options, context={"n": given})
    for feature in (1, 4, 9):
        alpha = values["alpha"][feature, 5]
        empirical, taylor, total = by_hand(network, points, lengths, feature, alpha)
        assert values["samples"][feature] == total
        np.testing.assert_allclose(values["empirical"][feature, 5], empirical, atol=1e-12)
        np.testing.assert_allclose(values["taylor"][feature, 5], taylor, atol=1e-9)
    assert (values["histogram/counts"].sum(axis=1) == values["samples"]).all()


def test_the_contexts_share_the_directions():
    """Else many lengths would cost many times as much as one."""
    points, lengths = padded(400)
    points = points.repeat(1, 1, 20) + torch.tensor(np.random.default_rng(0).normal(size=(400, STEPS, 40)))
    network = Formula(lambda x, n: (x.mean(dim=1)[:, :2] * n[:, None]).tanh())
    options = {"estimator": "both", "alphas": 8, "lengths": "n", "features": [0, 1]}
    values = study(network, points, options=options, context={"n": lengths})
    exact = study(network, points, options={**options, "covariance": {"retained": 1}}, context={"n": lengths})
    assert len(values["covariance/directions"]) == 4
    assert 60 <= values["covariance/directions"].sum() <= 68
    assert exact["covariance/directions"].sum() > 200
    z = (values["taylor"] - exact["taylor"]) / values["taylor_error"]
    assert 0.3 < np.abs(z).mean() < 3


def test_what_stands_in_the_padding_changes_nothing():
    options = {"estimator": "both", "alphas": 8, "lengths": "n"}
    found = []
    for fill in (0.0, 77.0):
        points, lengths = padded(fill=fill)
        found.append(study(Packed().double(), points, options=options, context={"n": lengths}))
    for name in ("alpha", "ace", "taylor", "empirical", "samples"):
        np.testing.assert_allclose(found[0][name], found[1][name], atol=1e-12, err_msg=name)


def test_padding_that_the_dataset_knows_of_needs_no_option():
    """Where an input is a padded sequence, its mask travels with every sample."""
    assert real_key("s") == REAL + "s"
    points, lengths = padded()
    network = Packed().double()
    expected = study(network, points, options={"alphas": 8, "lengths": "n"}, context={"n": lengths})
    population = population_of(network, points, context={"n": lengths})
    spec = population.scorer.layout.specs[0]
    padded_spec = InputSpec(spec.name, spec.shape, spec.dtype, sequence="s")
    inputs = (padded_spec, *population.scorer.inputs[1:])
    scorer = replace(population.scorer, layout=Layout((padded_spec,)), inputs=inputs)
    real = torch.arange(STEPS) < lengths[:, None]
    source = InMemory(points.flatten(1), {"n": lengths, real_key("s"): real})
    population = replace(population, scorer=scorer, source=source)
    values = AverageCausalEffects(alphas=8).study(population).values
    np.testing.assert_allclose(values["ace"], expected["ace"], atol=1e-12)
    np.testing.assert_array_equal(values["samples"], expected["samples"])


def test_many_contexts_leave_only_the_empirical_estimate():
    network = Formula(lambda x, c: x[:, :1] * c)
    points, context = torch.rand(100, 3, dtype=torch.float64), torch.rand(100, 1, dtype=torch.float64)
    values = study(network, points, options={"alphas": 8}, context={"c": context})
    assert values["estimators"] == ("empirical",)
    expected = np.outer(values["alpha"][0], context.mean())
    np.testing.assert_allclose(values["interventional"][0], expected, atol=1e-12)
    with pytest.raises(JobError, match=r"estimator: taylor: .* each distinct context .* more than 64"):
        study(network, points, options={"alphas": 8, "estimator": "taylor"}, context={"c": context})


def test_lengths_of_the_wrong_shape_are_told():
    points, _ = padded()
    network = Formula(lambda x, n: x[:, 0] * n[:, :1])
    with pytest.raises(JobError, match=r"lengths: 'n' has shape \(3,\) per sample"):
        study(network, points, options={"lengths": "n"}, context={"n": torch.ones(50, 3)})


# --- feedback -----------------------------------------------------------------------------------


class VectorAutoregression(nn.Module):
    """x̂ = Σ_k A_k x_{-k}, with a curve on top."""

    def __init__(self, matrices, curve=lambda x: x):
        super().__init__()
        self.matrices = nn.Parameter(torch.as_tensor(np.array(matrices)))
        self.curve = curve

    def forward(self, x):
        lags = min(len(self.matrices), x.shape[1])
        recent = x[:, x.shape[1] - lags :].flip(1)
        return self.curve(torch.einsum("kij,nkj->ni", self.matrices[:lags], recent))


def matrices(lags=2, seed=0):
    return np.random.default_rng(seed).normal(size=(lags, CHANNELS, CHANNELS)) / 3


def rolled_by_hand(network, points, step, channel, alpha):
    """Prediction after the last step, with the network's own predictions after `step`."""
    history = points.clone()
    history[:, step, channel] = alpha
    for later in range(step + 1, history.shape[1]):
        history[:, later] = network(history[:, :later])
    return network(history)


@pytest.mark.parametrize("curve", ["linear", "tanh"])
def test_an_intervention_is_rolled_out_through_the_predictions(curve):
    network = VectorAutoregression(matrices(), torch.tanh if curve == "tanh" else lambda x: x)
    points = sequences()
    options = {"feedback": "autoregressive", "alphas": 8, "tau": 3, "estimator": "both", "window": 2}
    values = study(network, points, options=options, axes=("time", "channel"))
    assert values["lag"].tolist() == [3, 3, 2, 2, 1, 1]
    assert values["tau"] == 3
    for feature, lag in enumerate(values["lag"]):
        for place, alpha in enumerate(values["alpha"][feature]):
            expected = rolled_by_hand(network, points, STEPS - lag, feature % CHANNELS, alpha).mean(dim=0)
            np.testing.assert_allclose(values["empirical"][feature, place], expected.detach(), atol=1e-12)
    if curve == "linear":
        np.testing.assert_allclose(values["taylor"], values["empirical"], atol=1e-10)


def test_a_linear_system_has_the_effects_of_its_powers():
    """x̂ = A x: what is set k steps before the prediction arrives as the column of A^k."""
    (a,) = matrices(1)
    options = {"feedback": "autoregressive", "alphas": 8, "tau": 4}
    values = study(VectorAutoregression([a]), sequences(), options=options)
    for feature, lag in enumerate(values["lag"]):
        slope = np.linalg.matrix_power(a, int(lag))[:, feature % CHANNELS]
        alpha = values["alpha"][feature]
        np.testing.assert_allclose(values["ace"][feature], np.outer(alpha - alpha.mean(), slope), atol=1e-10)


def test_the_taylor_estimate_uses_mean_and_covariance_of_the_rolled_out_sequences():
    network = VectorAutoregression(matrices(), torch.tanh)
    points = sequences()
    options = {
        "feedback": "autoregressive", "alphas": 8, "features": [5], "estimator": "taylor",
        "covariance": {"retained": 1},
    }  # fmt: skip
    values = study(network, points, options=options)
    step, channel = divmod(5, CHANNELS)
    for place, alpha in enumerate(values["alpha"][0]):
        history = points.clone()
        history[:, step, channel] = alpha
        for later in range(step + 1, STEPS):
            history[:, later] = network(history[:, :later]).detach()
        flat = history.flatten(1)
        mean, covariance = flat.mean(dim=0), torch.from_numpy(np.cov(flat.T, bias=True))
        for target in range(CHANNELS):
            hessian = torch.autograd.functional.hessian(
                lambda x, t=target: network(x.view(1, STEPS, CHANNELS))[0, t], mean
            )
            expected = network(mean.view(1, STEPS, CHANNELS))[0, target] + (hessian * covariance).sum() / 2
            assert values["interventional"][0, place, target] == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_the_horizon_is_as_far_as_the_jacobian_reaches(lag):
    a = np.zeros((4, CHANNELS, CHANNELS))
    a[0] = 0.5 * np.eye(CHANNELS)
    a[lag - 1, 1, 0] += 0.4
    values = study(
        VectorAutoregression(a), sequences(steps=8), options={"feedback": "autoregressive", "alphas": 8}
    )
    assert values["tau"] == lag
    assert len(values["sensitivity"]) == 8
    assert (values["sensitivity"][lag:] == 0).all()
    assert values["lag"].max() == lag


def test_a_lagged_cause_is_found_in_a_fitted_series():
    """Channel 2 is driven by channel 0 three steps before; channel 1 is a bystander."""
    random = np.random.default_rng(0)
    series = np.zeros((2000, 3))
    for t in range(3, len(series)):
        causes = [0.3 * series[t - 1, 0], 0.5 * series[t - 1, 1], 0.9 * series[t - 3, 0]]
        series[t] = random.normal(causes)
    lags = np.concatenate([series[6 - k : len(series) - k] for k in range(1, 7)], axis=1)
    fitted = np.linalg.lstsq(lags, series[6:], rcond=None)[0]
    network = VectorAutoregression(fitted.reshape(6, 3, 3).transpose(0, 2, 1).copy())
    windows = torch.tensor(np.stack([series[start : start + 8] for start in range(0, 1900, 10)]))
    values = study(network, windows, options={"feedback": "autoregressive", "alphas": 8}, axes=("time", "channel"))
    assert values["tau"] == 3
    importance = values["importance"].reshape(8, 3, 3)[..., 2]
    assert np.unravel_index(importance.argmax(), importance.shape) == (5, 0)
    importance[5, 0] = 0
    assert importance.max() < 0.15


def test_steps_that_are_not_studied_may_be_constant():
    points = sequences()
    points[:, 0] = 0.0
    values = study(
        VectorAutoregression(matrices()), points, options={"feedback": "autoregressive", "alphas": 8, "tau": 2}
    )
    assert values["lag"].tolist() == [2, 2, 1, 1]


def test_recurrent_networks_can_be_rolled_out():
    torch.manual_seed(0)
    network = sequence_classifier(CHANNELS, 6, CHANNELS).double()
    points = sequences(20)
    options = {"feedback": "autoregressive", "alphas": 8, "tau": 2, "estimator": "both"}
    values = study(network, points, options=options)
    expected = rolled_by_hand(network, points, STEPS - 2, 1, values["alpha"][1, 3]).mean(dim=0)
    np.testing.assert_allclose(values["empirical"][1, 3], expected.detach(), atol=1e-12)


def test_a_resumed_roll_out_equals_an_uninterrupted_one(monkeypatch):
    monkeypatch.setattr("xattr_cli.engines.ace.estimates.STAGE_EVALUATIONS", 1000)
    network, points = VectorAutoregression(matrices(), torch.tanh), sequences()
    options = {"feedback": "autoregressive", "alphas": 8}
    whole = Kept()
    reference = study(network, points, options=options, memo=whole)
    half = whole.computed[: len(whole.computed) // 2]
    memo = Kept({("ace", name): whole.arrays["ace", name] for name in half})
    values = study(network, points, options=options, memo=memo)
    assert memo.computed == whole.computed[len(half) :]
    for name, array in reference.items():
        np.testing.assert_array_equal(values[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 9}, "window: 9 is more than the 5 steps"),
        ({"window": 3, "tau": 4}, "tau: 4 needs sequences of at least 6 steps"),
        ({"groups": {"g": [0, 2]}}, "groups.g: reaches over several steps"),
    ],
)
def test_what_cannot_be_rolled_out(options, message):
    with pytest.raises(JobError, match=message):
        study(VectorAutoregression(matrices()), sequences(), options={"feedback": "autoregressive", **options})


def test_feedback_needs_a_network_that_predicts_the_next_step():
    with pytest.raises(JobError, match="this one has 3 outputs for 2 channels"):
        study(recurrent(), sequences(), options={"feedback": "autoregressive"})
    population = population_of(VectorAutoregression(matrices()), sequences())
    population = replace(population, scorer=replace(population.scorer, score=SCORES.get("probability")()))
    with pytest.raises(JobError, match=r"score: probability changes them. Set score: raw"):
        AverageCausalEffects(feedback="autoregressive").check(population)
