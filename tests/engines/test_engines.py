"""What each engine returns, against closed forms and brute force."""

import numpy as np
import pytest
import torch
from helpers.blocks import block_of, digits, explain, trained
from pydantic import ValidationError
from torch import nn

from xattr_cli.engines.path.expected_gradients import ExpectedGradients
from xattr_cli.engines.path.gradients import InputXGradient, Saliency
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.engines.path.interior_gradients import InteriorGradients
from xattr_cli.errors import JobError, ModelError
from xattr_cli.numerics.paths.sampling import draw_replicates
from xattr_cli.samples import Status


class Function(nn.Module):
    def __init__(self, formula):
        super().__init__()
        self.formula = formula
        self.rows_seen = 0

    def forward(self, x):
        self.rows_seen += len(x)
        return self.formula(x)


def draws(rows, features, seed=0):
    return torch.rand(rows, features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def curved(x):
    return torch.tanh(3 * x[:, 0]) * x[:, 1] + x[:, 2] ** 3


# --- saliency, input × gradient ------------------------------------------------------------------


def test_saliency_and_input_x_gradient_are_the_gradient_at_the_input():
    x = draws(5, 3)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(curved(leaf).sum(), leaf)
    saliency, product = explain(Saliency(), Function(curved), x), explain(InputXGradient(), Function(curved), x)
    torch.testing.assert_close(saliency.attribution, gradient.abs(), rtol=0, atol=1e-14)
    torch.testing.assert_close(product.attribution, x * gradient, rtol=0, atol=1e-14)
    assert (saliency.relative_error == 0).all()
    assert (saliency.evaluations == 1).all()
    torch.testing.assert_close(saliency.score_input, curved(x))


# --- interior gradients --------------------------------------------------------------------------


def interior(x, baseline, **options):
    engine = InteriorGradients(rtol=1e-5, max_nodes=2**14, **options)
    return explain(engine, Function(curved), x, baseline=baseline, rows=4096)


def test_curves_are_the_function_and_its_gradient_along_the_path():
    x, baseline = draws(4, 3, 1), draws(4, 3, 2)
    found = interior(x, baseline, curve_intervals=8)
    alpha = torch.from_numpy(found.constants["alpha"])
    np.testing.assert_allclose(alpha, (np.arange(9) / 8) ** 2)
    for k, a in enumerate(alpha):
        point = (baseline + a * (x - baseline)).requires_grad_()
        (gradient,) = torch.autograd.grad(curved(point).sum(), point)
        torch.testing.assert_close(found.curves["curve/score"][:, k], curved(point).detach())
        torch.testing.assert_close(found.curves["curve/gradient_norm"][:, k], gradient.norm(dim=1))
        torch.testing.assert_close(
            found.curves["curve/directional_derivative"][:, k], ((x - baseline) * gradient).sum(1)
        )


def test_maps_are_interior_gradients_at_exactly_the_alphas_asked_for():
    x, baseline = draws(4, 3, 1), draws(4, 3, 2)
    found = interior(x, baseline, alphas=(0.13, 0.5, 1.0))
    for k, a in enumerate((0.13, 0.5, 1.0)):
        point = (baseline + a * (x - baseline)).requires_grad_()
        (gradient,) = torch.autograd.grad(curved(point).sum(), point)
        torch.testing.assert_close(found.maps["maps"][:, k], (x - baseline) * gradient)


def test_running_integrals_sum_to_the_rise_of_the_score():
    x, baseline = draws(6, 3, 3), draws(6, 3, 4)
    alphas = (0.1, 0.37, 0.9, 1.0)
    found = interior(x, baseline, alphas=alphas)
    for k, a in enumerate(alphas):
        rise = curved(baseline + a * (x - baseline)) - curved(baseline)
        torch.testing.assert_close(found.maps["running"][:, k].sum(1), rise, rtol=0, atol=2e-4)
    torch.testing.assert_close(found.maps["running"][:, -1], found.attribution, rtol=0, atol=0)
    torch.testing.assert_close(
        found.attribution,
        explain(
            IntegratedGradients(rtol=1e-6, max_nodes=2**16), Function(curved), x, baseline=baseline, rows=4096
        ).attribution,
        rtol=0,
        atol=1e-4,
    )


def test_the_running_sum_follows_the_score():
    x, baseline = draws(6, 3, 3), draws(6, 3, 4)
    found = interior(x, baseline, curve_intervals=256)
    rise = found.curves["curve/score"] - found.curves["curve/score"][:, :1]
    torch.testing.assert_close(found.curves["curve/running_sum"], rise, rtol=0, atol=1e-3)


def test_saturation_is_the_cosine_to_the_activation_at_the_input():
    network, images = trained("relu_cnn_maxpool"), digits()[2][:3]
    engine = InteriorGradients(curve_intervals=8, layers=("pool", "logits"))
    # calls of 4 rows: the nine points of a path do not fit into one
    found = explain(engine, network, images, rows=4)
    saturation = found.curves["curve/saturation"]
    assert saturation.shape == (3, 2, 9)
    torch.testing.assert_close(saturation[:, :, -1], torch.ones(3, 2))
    at = network[:5]  # up to and with the pooling
    half = at(images * 0.25).flatten(1)  # α = (4/8)²
    expected = torch.cosine_similarity(half, at(images).flatten(1))
    torch.testing.assert_close(saturation[:, 0, 4], expected, rtol=1e-5, atol=1e-6)


def test_layers_that_cannot_be_followed_are_named():
    network, images = trained("relu_cnn_maxpool"), digits()[2][:3]
    with pytest.raises(JobError, match=r"'pol': the model has no such layer.*Did you mean 'pool'\?"):
        InteriorGradients(layers=("pol",)).check(block_of(network, images))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.unused = nn.Tanh(), nn.Tanh()

        def forward(self, x):
            return self.gate(self.gate(x)).sum(1)

    for layer, times in (("gate", 2), ("unused", 0)):
        with pytest.raises(ModelError, match=f"'{layer}' is called {times} times"):
            InteriorGradients(layers=(layer,)).check(block_of(Twice(), draws(2, 3)))


# --- sharing -------------------------------------------------------------------------------------


def test_engines_that_want_the_same_path_share_one_sweep():
    x = draws(5, 3, 5)
    ig, curves, saliency = IntegratedGradients(rtol=0.01), InteriorGradients(rtol=0.05, alphas=()), Saliency()
    module = Function(curved)
    block = block_of(module, x, engines=[ig, curves, saliency], rows=1)
    module.rows_seen = 0
    together = [engine.explain(block) for engine in (saliency, ig, curves)]
    cost = module.rows_seen
    # every gradient of the sweep, and one score per baseline; saliency costs nothing
    assert cost == int(together[1].evaluations.sum()) - (len(x) - 1)
    assert torch.equal(together[1].attribution, together[2].attribution)
    assert (together[1].relative_error <= 0.01).all()
    assert torch.equal(together[0].attribution, explain(saliency, Function(curved), x).attribution)


def test_other_baselines_and_rules_are_not_shared():
    x = draws(5, 3, 6)
    fixed = IntegratedGradients(rule="midpoint", nodes=7)
    alone = explain(fixed, Function(curved), x)
    block = block_of(Function(curved), x, engines=[IntegratedGradients(), fixed])
    IntegratedGradients().explain(block)
    assert torch.equal(fixed.explain(block).attribution, alone.attribution)
    assert (alone.evaluations == 9).all()  # seven nodes and both ends


# --- rows that go wrong, rows that stop early ----------------------------------------------------


def test_a_row_that_is_not_finite_is_quarantined_alone():
    x = draws(6, 3, 7)
    x[2, 0] = torch.nan
    clean = draws(6, 3, 7)
    found, expected = (explain(IntegratedGradients(), Function(curved), rows) for rows in (x, clean))
    assert found.status.tolist() == [0, 0, Status.QUARANTINED, 0, 0, 0]
    assert found.attribution[2].isnan().all()
    others = [0, 1, 3, 4, 5]
    assert torch.equal(found.attribution[others], expected.attribution[others])


def test_an_infinite_gradient_at_the_baseline_is_harmless():
    """f = √x₀ from 0: g(t) = 1 / (2 √(t x₀)), infinite at t = 0, integrates to √x₀."""
    x = draws(4, 1, 8).abs() + 0.1
    found = explain(IntegratedGradients(rtol=0.01), Function(lambda x: x[:, 0].sqrt()), x)
    assert (found.status == Status.CONVERGED).all()
    torch.testing.assert_close(found.attribution[:, 0], x[:, 0].sqrt(), rtol=1.25 * 0.01, atol=0)


def test_each_row_stops_by_itself():
    """Rows on a straight stretch need the first level, rows across a steep step need many."""
    x = torch.tensor([[0.1], [3.0]], dtype=torch.float64)
    found = explain(IntegratedGradients(), Function(lambda x: torch.sigmoid(80 * (x[:, 0] - 1))), x)
    assert found.evaluations[0] < found.evaluations[1]
    assert (found.relative_error <= 0.05).all()


def test_a_row_that_reaches_max_nodes_is_marked():
    x = torch.tensor([[0.001], [3.0]], dtype=torch.float64)
    engine = IntegratedGradients(max_nodes=9)
    found = explain(engine, Function(lambda x: torch.sigmoid(80 * (x[:, 0] - 1))), x)
    assert found.status.tolist() == [Status.CONVERGED, Status.NOT_CONVERGED]
    assert (found.evaluations <= 10).all()
    assert found.relative_error[1] > 0.05
    assert found.attribution.isfinite().all()


def test_a_constant_score_has_a_zero_map_known_exactly():
    found = explain(IntegratedGradients(), Function(lambda x: (x * 0).sum(1)), draws(3, 4, 9))
    assert (found.attribution == 0).all()
    assert (found.relative_error == 0).all()
    assert (found.status == Status.CONVERGED).all()


# --- expected gradients --------------------------------------------------------------------------


def test_expected_gradients_of_a_linear_function_are_exact():
    """With every background sample once per replicate, w ⊙ (x − mean background) has no sampling error."""
    x, background, weights = draws(5, 4, 10), draws(8, 4, 11), draws(1, 4, 12)[0]
    engine = ExpectedGradients()
    found = explain(engine, Function(lambda x: x @ weights), x, background=background)
    torch.testing.assert_close(found.attribution, weights * (x - background.mean(0)))
    assert (found.maps["standard_error"] < 1e-14).all()
    assert (found.evaluations == 32 + 16 + 1).all()  # 8 in four copies, half of them twice; and the input
    torch.testing.assert_close(found.score_baseline, (background @ weights).mean().expand(5))


def test_expected_gradients_belong_to_the_sample_and_the_seed():
    x, background = draws(6, 3, 13), draws(16, 3, 14)
    engine = ExpectedGradients(rtol=0.02, replicate_size=16)

    def run(rows, sample, seed=0):
        options = {"background": background, "sample": torch.tensor(sample), "seed": seed}
        return explain(engine, Function(curved), x[rows], **options).attribution

    everybody = run([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5])
    torch.testing.assert_close(run([4], [4]), everybody[4:5], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(run([5, 2], [5, 2]), everybody[[5, 2]], rtol=1e-12, atol=1e-14)
    assert not torch.allclose(run([4], [4], seed=1), everybody[4:5], rtol=1e-6)
    assert not torch.allclose(run([4], [5]), everybody[4:5], rtol=1e-6)


def test_draws_are_stratified_and_never_repeat_a_baseline_within_a_replicate():
    found = draw_replicates(seed=3, samples=[7, 9], first=2, count=5, size=8, background=20)
    assert found.t.shape == found.draw.shape == (2, 5, 8)
    assert (np.floor(found.t * 8) == np.arange(8)).all()
    assert all(len(set(draw)) == 8 for draw in found.draw.reshape(-1, 8))
    again = draw_replicates(seed=3, samples=[9], first=3, count=1, size=8, background=20)
    assert (again.draw[0, 0] == found.draw[1, 1]).all()
    assert (again.t[0, 0] == found.t[1, 1]).all()
    small = draw_replicates(seed=3, samples=[7], first=0, count=1, size=8, background=3)
    assert sorted(np.bincount(small.draw[0, 0]).tolist()) == [2, 3, 3]


# --- scales, corners -----------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e20, 1e30])
def test_reported_errors_do_not_depend_on_the_units_of_the_score(scale):
    network, images = trained("relu_cnn_maxpool"), digits()[2][:20]
    scaled = Function(lambda x: network(x)[:, 0] * scale)
    plain = Function(lambda x: network(x)[:, 0])
    found, expected = (explain(IntegratedGradients(), module, images) for module in (scaled, plain))
    torch.testing.assert_close(found.relative_error, expected.relative_error, rtol=1e-4, atol=0)
    assert torch.equal(found.evaluations, expected.evaluations)
    engine = ExpectedGradients(rtol=0.5)
    sampled, reference = (
        explain(engine, module, images, background=digits()[0][:16]) for module in (scaled, plain)
    )
    torch.testing.assert_close(sampled.relative_error, reference.relative_error, rtol=1e-4, atol=0)


def test_interior_gradients_at_one_are_those_of_the_input_itself():
    """x' + 1 · (x − x') need not be x in floating point; a kink at x tells the difference."""
    x = torch.full((200, 1), 0.7)
    baseline = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    kink = Function(lambda x: torch.relu(x[:, 0] - torch.tensor(0.7)))
    found = explain(InteriorGradients(alphas=(1.0,)), kink, x, baseline=baseline)
    assert (found.maps["maps"] == 0).all()


@pytest.mark.parametrize("warp", [1.0, 2.0, 2.5, 3.0])
def test_a_constant_gradient_integrates_exactly_up_to_every_mark(warp):
    x, weights = draws(4, 3, 20), draws(1, 3, 21)[0]
    alphas = (1e-5, 1e-3, 0.3, 0.999, 1.0)
    engine = InteriorGradients(warp=warp, curve_intervals=4, alphas=alphas)
    found = explain(engine, Function(lambda x: x @ weights), x)
    for k, alpha in enumerate(alphas):
        torch.testing.assert_close(found.maps["running"][:, k], alpha * weights * x, rtol=1e-9, atol=0)


def test_an_infinite_gradient_of_a_feature_that_does_not_change_is_harmless():
    x = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    found = explain(IntegratedGradients(), Function(lambda x: x[:, 0].sqrt() + x[:, 1]), x)
    assert found.attribution.tolist() == [[0.0, 1.0]]


def test_an_engine_is_judged_by_its_own_tolerance_in_a_shared_sweep():
    x = torch.tensor([[3.0]], dtype=torch.float64)
    step = Function(lambda x: torch.sigmoid(80 * (x[:, 0] - 1)))
    loose, strict = (IntegratedGradients(rtol=rtol, max_nodes=256) for rtol in (0.3, 1e-12))
    block = block_of(step, x, engines=[loose, strict])
    assert strict.explain(block).status.tolist() == [Status.NOT_CONVERGED]
    assert loose.explain(block).status.tolist() == [Status.CONVERGED]


def test_caps_are_caps():
    steep = Function(lambda x: torch.sigmoid(80 * (x[:, 0] - 1)))
    x = torch.tensor([[3.0]], dtype=torch.float64)
    for cap in (9, 32, 33, 1000, 1024):
        found = explain(IntegratedGradients(rtol=1e-12, max_nodes=cap), steep, x)
        assert found.evaluations.item() - 1 <= cap < 2 * found.evaluations.item()
    with pytest.raises(ValueError, match="max_nodes: 9 is less than the 65 gradients"):
        InteriorGradients(max_nodes=9)
    with pytest.raises(JobError, match="max_draws: 47 is less than the 64 of the first round"):
        ExpectedGradients(max_draws=47).check(block_of(steep, x, background=torch.zeros(4, 1).double()))


def test_no_error_bar_undercuts_the_rounding_of_float32():
    x = draws(20, 3, 22).float()
    found = explain(IntegratedGradients(rtol=1e-8, max_nodes=2**12), Function(curved), x, rows=4096)
    truth = explain(IntegratedGradients(rtol=1e-10, max_nodes=2**17), Function(curved), x.double(), rows=4096)
    error = (found.attribution - truth.attribution).norm(dim=1) / truth.attribution.norm(dim=1)
    assert (error <= 1.25 * found.relative_error).all()


def test_a_warp_that_the_error_bar_does_not_see_through_is_refused():
    with pytest.raises(ValidationError, match=r"must be 1, or from 2 to 8; .* with 1\.5"):
        IntegratedGradients(warp=1.5)
