"""A sweep at the nodes of another one: what it costs, and when it goes on by itself."""

import torch
from helpers.functions import Function

from xattr_cli.numerics.paths.integrate import NEAR_ENOUGH, Trapezoids
from xattr_cli.numerics.paths.quadrature import AdaptiveRule
from xattr_cli.numerics.paths.straight import StraightPath
from xattr_cli.numerics.paths.sweep import sweep

RTOL = 0.02
PLACES = torch.linspace(0.05, 0.95, 31, dtype=torch.float64)
PATH = StraightPath(
    torch.stack([0 * PLACES, 0 * PLACES, PLACES], dim=1),
    torch.stack([1 + 0 * PLACES, 1 + 0 * PLACES, PLACES], dim=1),
)


def kinked(steepness):
    """A kink at the third feature, which does not change on the path."""
    return Function(lambda x: x[:, 0] + steepness * torch.relu(x[:, 1] - x[:, 2]))


def swept(function, cells=None):
    rule = Trapezoids(function, PATH, AdaptiveRule(RTOL, 2048, 6, 2.0), cells=cells)
    return sweep(rule, PATH), rule.taken


def test_the_same_function_gives_the_same_map_at_the_same_cost():
    first, cells = swept(kinked(1.0))
    again, taken = swept(kinked(1.0), cells)
    assert len(first.evaluations.unique()) > 2  # rows need different numbers of nodes
    assert torch.equal(taken, cells)
    for name, found in vars(first).items():
        torch.testing.assert_close(getattr(again, name), found, rtol=1e-12, atol=1e-12, msg=name)


def test_a_function_that_is_nearly_the_same_costs_the_same():
    first, cells = swept(kinked(1.0))
    alone, near = swept(kinked(1.02))[0], swept(kinked(1.02), cells)[0]
    assert not torch.equal(alone.evaluations, first.evaluations)
    assert torch.equal(near.evaluations, first.evaluations)


def test_rows_that_are_far_from_the_tolerance_go_on():
    first, cells = swept(kinked(1.0))
    steep, taken = swept(kinked(30.0), cells)
    assert bool((taken >= cells).all())
    assert bool((steep.evaluations > first.evaluations).any())
    assert bool((steep.relative_error <= NEAR_ENOUGH * RTOL).all())


def test_rows_do_not_depend_on_their_company():
    _, cells = swept(kinked(1.0))
    together = swept(kinked(3.0), cells)[0]
    for row in (0, 13, 30):
        path = StraightPath(PATH.baseline[row : row + 1], PATH.input[row : row + 1])
        rule = Trapezoids(kinked(3.0), path, AdaptiveRule(RTOL, 2048, 6, 2.0), cells=cells[row : row + 1])
        alone = sweep(rule, path)
        assert alone.evaluations.item() == together.evaluations[row].item()
        torch.testing.assert_close(alone.mean_gradient[0], together.mean_gradient[row])
