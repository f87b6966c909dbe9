"""What a function does between two nodes: closed forms of steps that a gradient may miss."""

import pytest
import torch
from helpers.functions import Function

from xattr_cli.numerics.paths.integrate import integrate
from xattr_cli.numerics.paths.quadrature import AdaptiveRule
from xattr_cli.numerics.paths.straight import StraightPath
from xattr_cli.samples import Status

PLACES = torch.linspace(0.013, 0.987, 61, dtype=torch.float64)


def ramp(x):
    """Up by 0.3 on a tenth of the path, flat elsewhere; the place is the third feature, which does not change."""
    return x[:, 0] + 3 * (torch.relu(x[:, 1] - x[:, 2]) - torch.relu(x[:, 1] - x[:, 2] - 0.1))


def ramp_map(place):
    return 3 * (1 - place).clamp(max=0.1)


def steep(x):
    """Up by 0.7 on a hundredth of the path."""
    return x[:, 0] + 0.7 * torch.sigmoid(200 * (x[:, 1] - x[:, 2]))


def steep_map(place):
    return 0.7 * (torch.sigmoid(200 * (1 - place)) - torch.sigmoid(-200 * place))


def integrated(function, rtol, max_nodes, smooth):
    inputs = torch.stack([torch.ones_like(PLACES), torch.ones_like(PLACES), PLACES], dim=1)
    baselines = torch.stack([torch.zeros_like(PLACES), torch.zeros_like(PLACES), PLACES], dim=1)
    rule = AdaptiveRule(rtol, max_nodes, 6, 2.0)
    return integrate(Function(function), StraightPath(baselines, inputs), rule, smooth=smooth)


@pytest.mark.parametrize("rtol", [0.05, 0.01, 0.001])
@pytest.mark.parametrize("max_nodes", [64, 2048])
@pytest.mark.parametrize(
    ("function", "second", "smooth"), [(ramp, ramp_map, False), (steep, steep_map, True)], ids=["ramp", "steep"]
)
def test_a_step_between_two_nodes_is_found_or_reported(function, second, smooth, max_nodes, rtol):
    found = integrated(function, rtol, max_nodes, smooth)
    truth = torch.stack([torch.ones_like(PLACES), second(PLACES)], dim=1)
    error = (found.mean_gradient[:, :2] - truth).norm(dim=1) / truth.norm(dim=1)
    converged = found.status == Status.CONVERGED
    assert (error[converged] <= 1.25 * rtol).double().mean() >= 0.95 or not converged.any()
    assert (error <= 1.25 * found.relative_error + 1e-9).double().mean() >= 0.95
