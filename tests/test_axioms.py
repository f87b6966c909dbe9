"""The axioms of integrated gradients, each on functions with exact answers, in float64."""

import pytest
import torch
from helpers.blocks import explain
from torch import nn

from xattr_cli.engines.path.integrated_gradients import IntegratedGradients

EXACT = IntegratedGradients(rule="gauss_legendre", nodes=64)
NESTED = IntegratedGradients(rtol=1e-9, max_nodes=2**20)
TOLERANCE = 1e-9


class Function(nn.Module):
    """A network with one output, given by a formula."""

    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, x):
        return self.formula(x)


def draws(rows, features, seed=0):
    return torch.rand(rows, features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def ig(formula, x, baseline=None, engine=EXACT):
    return explain(engine, Function(formula), x, baseline=baseline, rows=4096).attribution


def close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=TOLERANCE)


def smooth(x):
    return torch.exp(x[:, 0] * x[:, 1]) + torch.sin(3 * x[:, 2]) * x[:, 0] ** 2


@pytest.mark.parametrize("seed", range(3))
def test_completeness(seed):
    x, baseline = draws(5, 3, seed), draws(5, 3, seed + 100)
    close(ig(smooth, x, baseline).sum(1), smooth(x) - smooth(baseline))


def test_completeness_of_the_nested_rule_within_its_own_error_bar():
    x, baseline = draws(20, 3, 1), draws(20, 3, 2)
    for rtol in (1e-2, 1e-4, 1e-6):
        engine = IntegratedGradients(rtol=rtol, max_nodes=2**16)
        found = explain(engine, Function(smooth), x, baseline=baseline, rows=4096)
        truth = ig(smooth, x, baseline)
        error = (found.attribution - truth).norm(dim=1) / truth.norm(dim=1)
        assert (error <= 1.25 * found.relative_error).all()
        assert (found.relative_error <= rtol).all()


def test_sensitivity_a_one_feature_that_matters_gets_everything():
    x = draws(4, 1, 3)
    close(ig(lambda x: torch.tanh(2 * x[:, 0]), x)[:, 0], torch.tanh(2 * x[:, 0]))


def test_sensitivity_a_where_the_gradient_at_the_input_is_zero():
    """f = 1 − ReLU(1 − x) at x = 2 from 0: the score rises by 1, its gradient at x is 0."""
    x = torch.full((1, 1), 2.0, dtype=torch.float64)
    saturated = lambda x: 1 - torch.relu(1 - x[:, 0])  # noqa: E731
    # an even midpoint rule has no node on the kink at t = 1/2 and is exact here
    assert ig(saturated, x, engine=IntegratedGradients(rule="midpoint", nodes=100)).item() == pytest.approx(
        1, abs=1e-12
    )
    found = explain(IntegratedGradients(rtol=1e-3, max_nodes=2**14), Function(saturated), x)
    assert found.attribution.item() == pytest.approx(1, rel=1e-3)


def test_sensitivity_b_an_unused_input_gets_exactly_zero():
    x = draws(6, 3, 4)
    formula = lambda x: x[:, 0] ** 2 * x[:, 2].exp()  # noqa: E731
    for engine in (EXACT, NESTED, IntegratedGradients()):
        assert (ig(formula, x, engine=engine)[:, 1] == 0).all()


def test_implementation_invariance():
    """The same function, once plainly and once through a saturating detour and back."""
    x, baseline = draws(8, 2, 5), draws(8, 2, 6)
    plain = lambda x: x[:, 0] * x[:, 1] ** 2 + x[:, 0]  # noqa: E731

    def detour(x):
        z = torch.atanh(torch.tanh(x / 2)) * 2
        return -((-z[:, 0]) * z[:, 1] ** 2 - torch.log(torch.exp(z[:, 0])))

    close(ig(plain, x, baseline), ig(detour, x, baseline))


def test_linearity():
    x, baseline = draws(5, 3, 7), draws(5, 3, 8)
    other = lambda x: (x**3).sum(1)  # noqa: E731
    together = ig(lambda x: 2 * smooth(x) - 3 * other(x), x, baseline)
    close(together, 2 * ig(smooth, x, baseline) - 3 * ig(other, x, baseline))


def test_symmetry():
    """Equal inputs and baselines of symmetric variables get equal attributions."""
    x = draws(5, 3, 9)
    x[:, 1] = x[:, 0]
    found = ig(lambda x: torch.sigmoid(x[:, 0] + x[:, 1] + x[:, 0] * x[:, 1]) * x[:, 2], x)
    close(found[:, 0], found[:, 1])


@pytest.mark.parametrize("rule", ["midpoint", "trapezoid", "gauss_legendre", "riemann_right"])
def test_linear_functions_are_exact_under_every_rule(rule):
    x, baseline = draws(5, 4, 10), draws(5, 4, 11)
    weights = draws(1, 4, 12)[0]
    engine = IntegratedGradients(rule=rule, nodes=5)
    close(ig(lambda x: x @ weights, x, baseline, engine), weights * (x - baseline))


def test_linear_functions_are_exact_at_the_first_level_of_the_nested_rule():
    x = draws(5, 4, 13)
    weights = draws(1, 4, 14)[0]
    found = explain(IntegratedGradients(), Function(lambda x: x @ weights), x)
    close(found.attribution, weights * x)
    assert (found.evaluations == 7).all()


def test_product_is_shared_in_halves():
    x = draws(5, 2, 15)
    half = (x[:, 0] * x[:, 1] / 2)[:, None].expand(-1, 2)
    close(ig(lambda x: x[:, 0] * x[:, 1], x), half)


def test_polynomials_against_symbolic_integration():
    """f = x₀²x₁³: IG = (2/5, 3/5) f from the zero baseline."""
    x = draws(9, 2, 16)
    f = x[:, 0] ** 2 * x[:, 1] ** 3
    close(ig(lambda x: x[:, 0] ** 2 * x[:, 1] ** 3, x), torch.stack([2 / 5 * f, 3 / 5 * f], dim=1))


def test_the_nested_rule_reaches_the_same_tolerance():
    x, baseline = draws(3, 3, 17), draws(3, 3, 18)
    close(ig(smooth, x, baseline, NESTED), ig(smooth, x, baseline))
