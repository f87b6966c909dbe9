"""Average causal effects against closed forms, scikit-learn, autograd's Hessians and brute force."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest
import torch
from helpers.ace import Formula, Kept, effects, population_of, study
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence
from torch import nn

from xattr_cli.engines.ace.engine import AverageCausalEffects
from xattr_cli.engines.population import PopulationBlock
from xattr_cli.errors import DataError, JobError, ModelError, RunError
from xattr_cli.models.zoo import digits_cnn, mlp

SIZE = 5


def samples(count=200, size=SIZE, seed=0, dtype=torch.float64):
    """Correlated, skewed, and not centred."""
    random = np.random.default_rng(seed)
    mixed = random.exponential(size=(count, size)) @ random.normal(size=(size, size))
    return torch.tensor(mixed + random.normal(size=size), dtype=dtype)


def quadratic(outputs=3, seed=1):
    """f_t(x) = xᵀ A_t x + b_t x, with its matrices."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(outputs, SIZE, SIZE)), random.normal(size=(outputs, SIZE))
    ta, tb = torch.tensor(a), torch.tensor(b)
    network = Formula(lambda x: torch.einsum("ni,tij,nj->nt", x, ta.to(x), x) + x @ tb.to(x).T)
    return network, a, b


def smooth(outputs=3, seed=0, size=SIZE, last=None, dtype=torch.float64):
    torch.manual_seed(seed)
    layers = [*mlp(size, [16, 12], outputs, activation="tanh"), *([last] if last else [])]
    return nn.Sequential(*layers).to(dtype)


# --- closed forms -------------------------------------------------------------------------------


def expected_quadratic(points, a, b, feature, alpha):
    """E f with x_i = α: mean and covariance after the intervention, put into the closed form."""
    mean, covariance = points.mean(axis=0), np.cov(points.T, bias=True)
    covariance[feature], covariance[:, feature] = 0, 0
    mean[feature] = alpha
    return np.einsum("i,tij,j->t", mean, a, mean) + b @ mean + np.einsum("tij,ij->t", a, covariance)


@pytest.mark.parametrize("estimator", ["taylor", "empirical"])
def test_both_estimates_are_exact_for_quadratics(estimator):
    network, a, b = quadratic()
    points = samples()
    values = study(network, points, options={"estimator": estimator, "alphas": 20, "covariance": {"retained": 1}})
    for feature in range(SIZE):
        for place, alpha in enumerate(values["alpha"][feature]):
            expected = expected_quadratic(points.numpy(), a, b, feature, alpha)
            np.testing.assert_allclose(values["interventional"][feature, place], expected, atol=1e-8)
    assert (values["regressor/order"] == 2).all()
    assert values["fit/deviation"].max() < 1e-8


def test_taylor_and_empirical_agree_on_quadratics_and_store_their_distance():
    network, _, _ = quadratic()
    values = study(network, samples(), options={"estimator": "both", "alphas": 20})
    assert values["estimators"] == ("empirical", "taylor")
    np.testing.assert_allclose(values["taylor"], values["empirical"], atol=1e-8)
    assert values["expectation_distance"].max() < 1e-8
    assert values["distance"].max() < 1e-8
    np.testing.assert_array_equal(values["interventional"], values["empirical"])


PARTS = (torch.sin, lambda x: x**3 / 4, torch.exp, lambda x: 0 * x, lambda x: x)
INTEGRALS = (
    lambda x: -np.cos(x),
    lambda x: x**4 / 16,
    np.exp,
    lambda x: 0 * x,
    lambda x: x**2 / 2,
)


@pytest.mark.parametrize("estimator", ["taylor", "empirical"])
def test_the_effect_in_an_additive_function_is_the_centred_part(estimator):
    network = Formula(lambda x: sum(part(x[:, i]) for i, part in enumerate(PARTS))[:, None])
    points = (samples() / 3).clamp(-2, 2)
    values = study(network, points, options={"estimator": estimator, "alphas": 60})
    for i, (part, integral) in enumerate(zip(PARTS, INTEGRALS, strict=True)):
        low, high = points[:, i].min().item(), points[:, i].max().item()
        mean = (integral(high) - integral(low)) / (high - low)
        alpha = torch.tensor(values["alpha"][i])
        np.testing.assert_allclose(values["ace"][i, :, 0], part(alpha) - mean, atol=1e-8)


def test_an_input_that_the_network_ignores_has_no_effect():
    network = smooth()
    with torch.no_grad():
        network[0].weight[:, 2] = 0
    values = study(network, samples(), options={"estimator": "both", "alphas": 20})
    assert np.abs(values["ace"][2]).max() < 1e-14
    assert np.abs(values["taylor"][2] - values["taylor"][2, 0]).max() < 1e-14


def test_an_input_that_never_varies_has_effect_zero_if_asked_for():
    points = samples()
    points[:, 1] = 3.0
    values = study(smooth(), points, options={"constant": "zero", "alphas": 10}, names="abcde")
    assert values["constant"] == ("b",)
    assert values["features"] == ("a", "c", "d", "e")
    assert (values["importance"][1] == 0).all()
    assert (values["importance"][[0, 2, 3, 4]] > 0).all()


# --- other ways to the same numbers -------------------------------------------------------------


@pytest.mark.parametrize("last", [None, nn.Softmax(dim=1)])
def test_the_trace_is_that_of_the_hessians_of_autograd(last):
    network, points = smooth(last=last), samples()
    options = {"estimator": "taylor", "alphas": 8, "covariance": {"retained": 1}}
    values = study(network, points, options=options)
    mean, covariance = points.mean(dim=0), torch.from_numpy(np.cov(points.T, bias=True))
    for feature in range(SIZE):
        sigma = covariance.clone()
        sigma[feature], sigma[:, feature] = 0, 0
        for place, alpha in enumerate(values["alpha"][feature]):
            at = mean.clone()
            at[feature] = alpha
            for target in range(3):
                hessian = torch.autograd.functional.hessian(lambda x, t=target: network(x[None])[0, t], at)
                expected = network(at[None])[0, target] + (hessian * sigma).sum() / 2
                assert values["interventional"][feature, place, target] == pytest.approx(
                    expected.item(), abs=1e-10
                )


class AsRegressor(RegressorMixin, BaseEstimator):
    """One output of a network, as scikit-learn sees it."""

    def __init__(self, network=None, target=0):
        self.network, self.target = network, target

    def fit(self, x, y):
        self.fitted_ = True
        return self

    def predict(self, x):
        with torch.no_grad():
            return self.network(torch.from_numpy(x))[:, self.target].numpy()


@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_the_empirical_estimate_is_the_partial_dependence_of_scikit_learn(kind):
    torch.manual_seed(3)
    network = mlp(SIZE, [16], 2, activation=kind).double().requires_grad_(False)
    points = samples(80)
    values = study(network, points, options={"estimator": "empirical", "alphas": 30})
    for target in range(2):
        wrapped = AsRegressor(network, target).fit(None, None)
        for feature in range(SIZE):
            found = partial_dependence(
                wrapped, points.numpy(), [feature], kind="average", method="brute",
                grid_resolution=30, percentiles=(0, 1),
            )  # fmt: skip
            np.testing.assert_allclose(found["grid_values"][0], values["alpha"][feature], atol=1e-12)
            np.testing.assert_allclose(
                found["average"][0], values["interventional"][feature, :, target], atol=1e-6
            )


def test_the_baseline_in_closed_form_is_the_mean_over_alpha():
    values = study(smooth(), samples(), options={"alphas": 2000, "estimator": "taylor"})
    np.testing.assert_allclose(values["baseline"], values["baseline_by_quadrature"], atol=1e-5)


def test_the_standard_error_is_that_of_the_mean_over_the_data():
    """Over fresh data sets of the same kind, 95 % of the curves lie within two standard errors."""
    network = smooth()
    truth = study(
        network, samples(20_000, seed=99), options={"estimator": "empirical", "range": [-1, 1], "alphas": 8}
    )
    inside = []
    for seed in range(40):
        values = study(network, fresh(seed), options={"estimator": "empirical", "range": [-1, 1], "alphas": 8})
        inside.append(np.abs(values["ace"] - truth["ace"]) < 2 * values["standard_error"] + 1e-12)
    assert 0.9 < np.mean(inside) < 0.99


def fresh(seed, count=100):
    everything = samples(20_000, seed=99)
    chosen = np.random.default_rng(seed).integers(0, len(everything), count)
    return everything[chosen]


# --- covariance ---------------------------------------------------------------------------------


def wide(count=300, size=80):
    random = np.random.default_rng(7)
    mixed = random.normal(size=(count, size)) @ random.normal(size=(size, size)) / np.sqrt(size)
    return torch.tensor(mixed)


def exact_taylor(network, points):
    return study(network, points, options={**WIDE, "covariance": {"retained": 1}})["interventional"]


WIDE = {"estimator": "taylor", "alphas": 8, "features": [0, 1, 2]}


@pytest.mark.parametrize("memory", [2**30, 2**18])
def test_random_probes_are_unbiased_and_their_error_is_honest(memory):
    """A covariance that fits into memory, and combinations of samples where none does."""
    network, points = smooth(2, size=80), wide()
    exact = exact_taylor(network, points)
    deviations, errors = [], []
    for seed in range(60):
        options = {**WIDE, "covariance": {"probes": 16}}
        values = study(network, points, options=options, seed=seed, memory=memory)
        deviations.append(values["interventional"] - exact)
        errors.append(values["interventional_error"])
    deviations, errors = np.array(deviations), np.array(errors)
    # the mean over the seeds, in its own standard errors
    z = deviations.mean(axis=0) / (deviations.std(axis=0, ddof=1) / np.sqrt(60))
    assert np.abs(z).max() < 4.5
    assert 0.88 < (np.abs(deviations) < 2 * errors).mean() < 0.98
    assert np.median(errors / deviations.std(axis=0)) == pytest.approx(1, abs=0.15)


def test_the_default_takes_leading_directions_and_probes_of_the_rest():
    network, points = smooth(2, size=80), wide()
    exact = exact_taylor(network, points)
    auto = study(network, points, options=WIDE)
    assert auto["covariance/directions"].tolist() == [64]
    assert auto["covariance/exact"].tolist() == [32]
    assert 0.5 < auto["covariance/retained"][0] < 0.95
    assert np.median(np.abs(auto["interventional"] - exact) / auto["interventional_error"]) < 3
    probes = study(network, points, options={**WIDE, "covariance": {"probes": 64}})
    assert np.median(auto["interventional_error"]) < np.median(probes["interventional_error"])


def test_a_share_of_the_variance_is_enough_for_most_of_the_term():
    network, points = smooth(2, size=80), wide()
    exact = exact_taylor(network, points)
    values = study(network, points, options={**WIDE, "covariance": {"retained": 0.999}})
    assert 0.999 <= values["covariance/retained"][0] < 1
    np.testing.assert_allclose(values["interventional"], exact, atol=2e-3)
    assert not values["interventional_error"].any()


def test_data_of_few_features_have_all_their_directions():
    """Also those that hold next to no variance."""
    points = samples()
    points[:, 0] *= 1e-3
    values = study(quadratic()[0], points, options={"estimator": "both", "alphas": 8})
    assert values["covariance/exact"].tolist() == [SIZE]
    np.testing.assert_allclose(values["taylor"], values["empirical"], atol=1e-8)


def test_few_directions_are_taken_as_they_are_even_if_probes_are_asked_for():
    network, a, b = quadratic()
    points = samples()
    values = study(network, points, options={"estimator": "taylor", "alphas": 8, "covariance": {"probes": 16}})
    expected = expected_quadratic(points.numpy(), a, b, 1, values["alpha"][1, 3])
    np.testing.assert_allclose(values["interventional"][1, 3], expected, atol=1e-8)


# --- the network --------------------------------------------------------------------------------

NETWORKS = {
    "silu": lambda: nn.Sequential(nn.Linear(SIZE, 12), nn.SiLU(), nn.Linear(12, 3)),
    "layer_norm": lambda: nn.Sequential(nn.Linear(SIZE, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 3)),
    "glu": lambda: nn.Sequential(nn.Linear(SIZE, 12), nn.GLU(), nn.Linear(6, 3)),
    "in_place": lambda: nn.Sequential(nn.Linear(SIZE, 12), nn.ReLU(inplace=True), nn.Linear(12, 3), nn.Softmax(1)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, SIZE)), nn.Conv1d(1, 4, 3), nn.GELU(), nn.Flatten(), nn.Linear(12, 3)
    ),
    "attention": lambda: nn.Sequential(
        nn.Unflatten(1, (SIZE, 1)), nn.Linear(1, 8), Attention(), nn.Flatten(), nn.Linear(40, 3)
    ),
}


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_second_derivatives_of_many_layers_are_right(name):
    """Against finite differences of the network itself; layer_norm is one that torch gets wrong silently."""
    torch.manual_seed(0)
    network, points = NETWORKS[name]().double(), samples(50) / 3
    options = {"estimator": "taylor", "alphas": 8, "features": [0], "covariance": {"retained": 1}}
    values = study(network, points, options=options)
    mean = points.mean(dim=0)
    covariance = np.cov(points.T, bias=True)
    covariance[0], covariance[:, 0] = 0, 0
    directions = torch.tensor(np.linalg.cholesky(covariance[1:, 1:]).T)
    directions = torch.cat([torch.zeros(SIZE - 1, 1, dtype=torch.float64), directions], dim=1)
    step = 1e-4
    with torch.no_grad():
        for place, alpha in enumerate(values["alpha"][0]):
            at = mean.clone()
            at[0] = alpha
            ahead, behind = network(at + step * directions), network(at - step * directions)
            trace = ((ahead - 2 * network(at[None]) + behind) / step**2).sum(dim=0)
            expected = network(at[None])[0] + trace / 2
            np.testing.assert_allclose(values["interventional"][0, place], expected, atol=2e-5)


@pytest.mark.parametrize(("name", "scheme"), [("silu", 0), ("layer_norm", 1), ("attention", 0)])
def test_the_cheap_scheme_is_taken_only_where_it_is_right(name, scheme):
    """Four passes for all outputs; but of layer_norm torch has no third derivative, and does not say so."""
    torch.manual_seed(0)
    memo = Kept()
    study(NETWORKS[name]().double(), samples(50), options={"estimator": "taylor", "alphas": 8}, memo=memo)
    assert memo.arrays["ace", "scheme"]["scheme"] == scheme


def test_a_network_that_is_linear_in_pieces_has_no_second_order_term():
    torch.manual_seed(0)
    network, points = mlp(SIZE, [16], 2).double(), samples()
    values = study(network, points, options={"estimator": "taylor", "alphas": 8})
    at = points.mean(dim=0).repeat(8, 1)
    at[:, 3] = torch.tensor(values["alpha"][3])
    np.testing.assert_allclose(values["interventional"][3], network(at).detach(), atol=1e-12)


class DifferentiableOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_network_without_second_derivative_is_told(share):
    """torch leaves out what it cannot differentiate, without a word; so a sum needs a look at its parts."""
    network = Formula(lambda x: DifferentiableOnce.apply(x)[:, :2] + share * x[:, 2:4] ** 2)
    with pytest.raises(ModelError, match=r"no second derivative.*estimator: empirical"):
        study(network, samples(), options={"estimator": "taylor", "alphas": 8})
    population = population_of(network, samples())
    values = AverageCausalEffects(alphas=8).study(population).values
    assert values["estimators"] == ("empirical",)
    assert "no second derivative" in population.warnings[0]


def test_many_targets_cost_few_passes_of_the_network():
    """784 pixels of a decoder: second derivatives of all take four backward passes."""
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 784), nn.Sigmoid()).double()
    latents = torch.randn(60, 6, dtype=torch.float64)
    passes = []
    decoder[0].register_forward_hook(lambda *_: passes.append(1))
    found = effects(decoder, latents, options={"alphas": 10, "estimator": "taylor"}, rows=4096)
    assert found.values["ace"].shape == (6, 10, 784)
    assert len(passes) < 40
    assert found.evaluations == 6 * 10 * (1 + 4 * 6)


# --- company ------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["taylor", "empirical"])
def test_neither_calls_nor_order_of_the_data_matter(estimator):
    network, points = smooth(dtype=torch.float32), samples(dtype=torch.float32)
    options = {"estimator": estimator, "alphas": 12, "range": {"quantiles": 0.05}}
    reference = study(network, points, options=options)
    shuffled = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))]
    for given, rows in ((points, 1), (points, 7), (shuffled, 256)):
        values = study(network, given, options=options, rows=rows)
        for name in ("alpha", "ace", "interventional", "baseline", "standard_error", "histogram/counts"):
            np.testing.assert_allclose(values[name], reference[name], atol=1e-6, err_msg=name)


def test_probes_do_not_depend_on_the_order_of_the_data():
    network, points = smooth(2, size=80), wide()
    options = {**WIDE, "covariance": {"probes": 8}}
    one = study(network, points, options=options)
    other = study(network, points.flip(0), options=options, rows=3)
    np.testing.assert_allclose(one["interventional"], other["interventional"], atol=1e-9)


def test_a_resumed_study_equals_an_uninterrupted_one_and_computes_no_step_again(monkeypatch):
    monkeypatch.setattr("xattr_cli.engines.ace.estimates.STAGE_EVALUATIONS", 3000)
    network, points = smooth(), samples()
    options = {"alphas": 10, "range": {"quantiles": 0.1}}
    whole = Kept()
    reference = study(network, points, options=options, memo=whole)
    assert len(whole.computed) > 8
    for lost in range(1, len(whole.computed)):
        memo = Kept({("ace", name): whole.arrays["ace", name] for name in whole.computed[:lost]})
        values = study(network, points, options=options, memo=memo)
        assert memo.computed == whole.computed[lost:]
        for name, array in reference.items():
            np.testing.assert_array_equal(values[name], array, err_msg=name)


class Endless:
    """Samples made when they are read."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def read(self, start, stop):
        points = torch.tensor(np.random.default_rng(start).normal(size=(stop - start, SIZE)))
        return PopulationBlock(points, {}, np.arange(start, stop), None)


def test_memory_does_not_grow_with_the_samples():
    def peak(count):
        population = population_of(smooth(1), samples(4), rows=512)
        population.source = Endless(count)
        engine = AverageCausalEffects(alphas=8, estimator="both", features=(0, 1))
        gc.collect()
        tracemalloc.start()
        engine.study(population)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(4096)
    assert peak(10 * 4096) < 1.2 * peak(4096)


def test_a_float32_network_is_studied_in_float32_and_summed_in_float64():
    network, points = smooth(dtype=torch.float64), samples()
    exact = study(network, points, options={"alphas": 12})
    rounded = study(network.float(), points.float(), options={"alphas": 12})
    np.testing.assert_allclose(rounded["ace"], exact["ace"], atol=2e-6)
    assert rounded["ace"].dtype == np.float64


def test_some_targets_are_those_of_the_whole():
    network, points = smooth(4), samples()
    everything = study(network, points, options={"alphas": 9})
    some = study(network, points, options={"alphas": 9}, targets=(2, 0))
    np.testing.assert_allclose(some["ace"], everything["ace"][..., [2, 0]], atol=1e-12)


def test_samples_that_are_not_finite_are_left_out():
    network, points = smooth(), samples(100)
    broken = points.clone()
    broken[[3, 50], [0, 4]] = torch.nan
    kept = np.delete(np.arange(100), [3, 50])
    population = population_of(network, broken)
    values = AverageCausalEffects(alphas=9).study(population).values
    expected = study(network, points[kept], options={"alphas": 9})
    np.testing.assert_allclose(values["ace"], expected["ace"], atol=1e-12)
    assert "2 of 100 samples hold NaN" in population.warnings[0]


# --- groups, levels, ranges ---------------------------------------------------------------------


def test_a_group_sets_its_members_together_each_in_its_own_range():
    network, points = smooth(), samples()
    options = {"groups": {"pair": ["a", 3]}, "alphas": 11, "estimator": "both"}
    values = study(network, points, options=options, names="abcde")
    assert values["features"] == ("pair", "b", "c", "e")
    np.testing.assert_allclose(values["alpha"][0], np.linspace(0, 1, 11))
    low, high = points.min(dim=0).values, points.max(dim=0).values
    for place, share in enumerate(values["alpha"][0]):
        at = points.clone()
        at[:, [0, 3]] = (low + share * (high - low))[[0, 3]]
        np.testing.assert_allclose(values["empirical"][0, place], network(at).mean(dim=0).detach(), atol=1e-12)
    np.testing.assert_array_equal(values["importance"][0], values["importance"][3])


def test_the_taylor_estimate_of_a_group_is_exact_for_quadratics():
    network, _, _ = quadratic()
    values = study(network, samples(), options={"groups": {"pair": [1, 2]}, "features": [0], "alphas": 9})
    assert len(values["features"]) == 2
    np.testing.assert_allclose(values["taylor"], values["empirical"], atol=1e-8)


def categorical():
    random = np.random.default_rng(0)
    points = samples(120)
    points[:, 1] = torch.tensor(random.integers(0, 3, 120).astype(float))
    color = random.integers(0, 2, 120)
    points[:, 3], points[:, 4] = torch.tensor(color == 0), torch.tensor(color == 1)
    return points


def test_levels_are_set_one_by_one_and_their_baseline_is_their_mean():
    network, points = smooth(), categorical()
    options = {
        "groups": {"color": ["d", "e"]},
        "levels": {"b": [0, 1, 2], "color": "one_hot"},
        "alphas": 9,
        "estimator": "both",
    }
    values = study(network, points, options=options, names="abcde")
    assert values["features"] == ("color", "a", "b", "c")
    assert values["discrete"].tolist() == [1, 0, 1, 0]
    level = values["features"].index("b")
    np.testing.assert_array_equal(values["alpha"][level, :3], [0, 1, 2])
    assert np.isnan(values["alpha"][level, 3:]).all()
    for place in range(3):
        at = points.clone()
        at[:, 1] = place
        np.testing.assert_allclose(values["empirical"][level, place], network(at).mean(dim=0).detach(), atol=1e-12)
    np.testing.assert_allclose(values["ace"][level, :3].mean(axis=0), 0, atol=1e-12)
    for place, (d, e) in enumerate([(1, 0), (0, 1)]):
        at = points.clone()
        at[:, 3], at[:, 4] = d, e
        np.testing.assert_allclose(values["empirical"][0, place], network(at).mean(dim=0).detach(), atol=1e-12)
    counts = values["histogram/counts"]
    assert counts[level, :3].tolist() == [int((points[:, 1] == k).sum()) for k in range(3)]


def test_levels_can_be_taken_from_the_data():
    points = categorical()
    options = {"levels": "data", "alphas": 9, "features": [0, 1, 3]}
    values = study(smooth(), points, options=options, names="abcde")
    assert values["discrete"].tolist() == [0, 1, 1]
    np.testing.assert_array_equal(values["alpha"][2, :2], [0, 1])


def test_quantiles_are_those_of_the_data():
    points = samples(5000)
    values = study(
        smooth(), points, options={"range": {"quantiles": [0.1, 0.8]}, "alphas": 8, "estimator": "taylor"}
    )
    width = np.ptp(points.numpy(), axis=0)
    for share, place in ((0.1, 0), (0.8, -1)):
        exact = np.quantile(points.numpy(), share, axis=0)
        assert (np.abs(values["alpha"][:, place] - exact) / width).max() < 1e-3


def test_a_range_can_be_given_for_all_or_for_some():
    points = samples()
    everything = study(smooth(), points, options={"range": [0, 1], "alphas": 8})
    assert (everything["alpha"][:, 0] == 0).all()
    assert (everything["alpha"][:, -1] == 1).all()
    some = study(smooth(), points, options={"range": {"b": [0, 2]}, "alphas": 8}, names="abcde")
    assert some["alpha"][1, [0, -1]].tolist() == [0, 2]
    assert some["alpha"][0, 0] == points[:, 0].min()


def test_the_histogram_counts_every_sample_once():
    points = samples()
    values = study(smooth(), points, options={"alphas": 8, "range": {"quantiles": 0.1}})
    total = values["histogram/counts"].sum(axis=1) + values["histogram/outside"]
    assert (total == len(points)).all()
    assert (np.abs(values["histogram/outside"] - 40) <= 2).all()


def test_auto_makes_the_empirical_estimate_over_as_many_samples_as_it_can_afford(monkeypatch):
    network, points = smooth(), samples()
    assert study(network, points, options={"alphas": 8})["estimators"] == ("empirical", "taylor")
    monkeypatch.setattr("xattr_cli.engines.ace.estimates.MOST_EMPIRICAL", 1000)
    population = population_of(network, points)
    values = AverageCausalEffects(alphas=8).study(population).values
    assert values["estimators"] == ("empirical", "taylor")
    assert (values["samples"] == 25).all()
    assert "about 25 of 200" in population.warnings[0]
    monkeypatch.setattr("xattr_cli.engines.ace.estimates.MOST_EMPIRICAL", 500)
    assert study(network, points, options={"alphas": 8})["estimators"] == ("taylor",)
    # who asks for it gets it
    assert (study(network, points, options={"alphas": 8, "estimator": "both"})["samples"] == 200).all()


def test_the_samples_of_the_empirical_mean_are_chosen_whatever_their_order():
    network, points = smooth(), samples(2000)
    options = {"alphas": 8, "estimator": "empirical", "samples": 100}
    one, other = study(network, points, options=options), study(network, points.flip(0), options=options)
    assert 100 <= one["samples"][0] <= 105
    np.testing.assert_allclose(one["ace"], other["ace"], atol=1e-12)
    whole = study(network, points, options={**options, "samples": 5000})
    assert (whole["samples"] == 2000).all()
    assert (np.abs(one["ace"] - whole["ace"]) < 5 * one["standard_error"] + 1e-9).all()


def test_evaluations_are_counted():
    passes = []
    network = smooth()
    network[0].register_forward_hook(lambda _module, inputs, _output: passes.append(len(inputs[0])))
    found = effects(network, samples(), options={"alphas": 8, "estimator": "empirical"}, rows=1)
    assert found.evaluations == SIZE * 8 * 200
    population = population_of(network, samples(), rows=1)
    assert AverageCausalEffects(alphas=8, estimator="empirical").expected_evaluations(population) == SIZE * 8 * 200


# --- what cannot be done ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["x"]}, r"features: no feature 'x'; there are 5, numbered from 0. Allowed: alpha, beta"),
        ({"features": ["alpa"]}, "Did you mean 'alpha'"),
        ({"features": [7]}, "no feature number 7"),
        ({"features": ["alpha", 0]}, "'alpha' is named twice"),
        ({"groups": {"alpha": [1]}}, "groups.alpha: a feature has that name"),
        ({"groups": {"g": [0, 1], "h": [1]}}, "groups.h: 'beta' is in the group 'g' already"),
        ({"groups": {"g": []}}, "groups.g: is empty"),
        ({"range": {"aplha": [0, 1]}}, "range: no feature 'aplha'.*Did you mean 'alpha'"),
        ({"levels": {"gamma": [1]}}, "levels.gamma: at least two"),
        ({"levels": {"gamma": [1, 1]}}, "levels.gamma: a level is named twice"),
        ({"levels": {"gamma": "one_hot"}}, "one_hot is for a group"),
        ({"levels": {"gamma": "data"}}, "too many distinct values"),
        ({"levels": {"gama": [0, 1]}}, "levels.gama: no feature or group.*Did you mean 'gamma'"),
        ({"groups": {"g": [0, 1]}, "levels": {"g": [[0, 1], [1]]}}, "levels.g: the levels differ in length"),
        ({"groups": {"g": [0, 1]}, "levels": {"g": [0, 1]}}, "must give 2 values"),
        ({"lengths": "steps"}, "lengths: 'steps' is no input beside"),
        ({"feedback": "autoregressive"}, "feedback: autoregressive needs a network that maps sequences"),
    ],
)
def test_options_that_do_not_fit_the_data(options, message):
    with pytest.raises(JobError, match=message):
        study(smooth(), samples(), options={"alphas": 8, **options}, names=("alpha", "beta", "gamma", "d", "e"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"range": [1, 0]}, "low < high"),
        ({"range": {"a": 0.5}}, "range of 'a' must be"),
        ({"range": {"quantiles": 0.6}}, "below one half"),
        ({"range": {"quantiles": 0.1, "a": [0, 1]}}, "stands alone"),
        ({"covariance": {"retained": 0.9, "probes": 4}}, "must be {retained"),
        ({"covariance": {"retained": 1.5}}, "must be {retained"),
        ({"covariance": {"probes": 1}}, "at least 2"),
        ({"covariance": {"probes": 2.5}}, "an integer"),
        ({"order": 9, "alphas": 10}, "order: 9 needs alphas of at least 13"),
        ({"tau": 3}, "tau goes with feedback"),
        ({"window": 3}, "window goes with feedback"),
        ({"feedback": "autoregressive", "lengths": "n"}, "one length"),
        ({"estimator": "taylor", "samples": 5}, "samples goes with the empirical"),
        ({"alphas": True}, "true or false"),
        ({"alpha": 5}, "Did you mean 'alphas'"),
    ],
)
def test_options_that_contradict_themselves(options, message):
    with pytest.raises(ValueError, match=message):
        AverageCausalEffects.model_validate(options)


def test_a_feature_that_never_varies_is_named():
    points = samples()
    points[:, [1, 4]] = 2.0
    with pytest.raises(JobError, match=r"'b', 'e' never vary .* constant: zero"):
        study(smooth(), points, names="abcde")
    points[:] = 1.0
    with pytest.raises(JobError, match="none of them varies"):
        study(smooth(), points, options={"constant": "zero"})


def test_a_column_of_categories_without_levels_is_named():
    with pytest.raises(JobError, match=r"'b' takes only the values 0, 1, 2, which looks categorical.*levels"):
        study(smooth(), categorical(), options={"features": ["a", "b"]}, names="abcde")
    with pytest.raises(JobError, match=r"'d' takes only the values 0, 1"):
        study(smooth(), categorical(), options={"features": ["d"]}, names="abcde")
    with pytest.raises(JobError, match=r"groups.color: every member takes but a few values.*one_hot"):
        study(smooth(), categorical(), options={"groups": {"color": [3, 4]}, "features": [0]}, names="abcde")
    # who gives a range has said that it is a quantity
    options = {"features": ["b"], "range": {"b": [0, 2]}, "alphas": 8}
    assert study(smooth(), categorical(), options=options, names="abcde")["discrete"].tolist() == [0]


def test_a_range_beyond_the_data_is_warned_about():
    population = population_of(smooth(), samples(), names="abcde")
    AverageCausalEffects.model_validate({"range": {"c": [-100, 100]}, "alphas": 8}).study(population)
    (warning,) = [text for text in population.warnings if text.startswith("range")]
    assert "beyond the data" in warning
    assert "'c': [-100, 100]" in warning
    assert "'a'" not in warning


def test_levels_that_were_left_out_are_warned_about():
    population = population_of(smooth(), categorical(), names="abcde")
    options = {"features": ["b"], "levels": {"b": [0, 2]}, "alphas": 8}
    AverageCausalEffects.model_validate(options).study(population)
    assert "levels.b: the data also hold 1" in population.warnings[0]


def test_a_single_sample_is_refused():
    with pytest.raises(JobError, match="a single sample"):
        study(smooth(), samples(1))
    points = samples(3)
    points[:2] = torch.nan
    with pytest.raises(DataError, match="1 finite samples"):
        study(smooth(), points)


def test_a_network_that_fails_somewhere_in_the_range_is_told_where():
    network = Formula(lambda x: torch.where(x[:, :1] > 0.85, torch.nan, x[:, :1]))
    points = torch.rand(50, 2, dtype=torch.float64) * 0.8
    with pytest.raises(RunError, match=r"empirical estimate is not finite at do\('a' = 0.9"):
        study(network, points, options={"range": [0, 1], "alphas": 11, "estimator": "empirical"}, names="ab")


def test_what_would_not_fit_into_memory_is_refused_before():
    with pytest.raises(JobError, match=r"alphas: 1000 for 5 features and 3 targets take .* GiB"):
        study(smooth(), samples(), options={"alphas": 1000}, memory=2**20)


def test_the_convolutional_network_of_the_digits_can_be_studied_by_rows_of_pixels():
    torch.manual_seed(0)
    images = torch.rand(40, 1, 8, 8)
    groups = {f"row {row}": list(range(8 * row, 8 * row + 8)) for row in range(8)}
    values = study(digits_cnn(), images, options={"groups": groups, "alphas": 8})
    assert values["features"] == tuple(groups)
    assert values["layout/inputs"] == ("X=1x8x8",)
