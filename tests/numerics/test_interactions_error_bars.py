"""Reported against true errors of integrated Hessians, on smooth networks of several kinds."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from helpers.blocks import digits, explain, trained
from helpers.interactions import relative_distance
from torch import Tensor, nn

from xattr_cli.engines.interactions.integrated_hessians import IntegratedHessians
from xattr_cli.models.zoo import mlp

ROWS = 40
PATCHES = {"groups": {"patches": 2}}


def softplus_mlp() -> tuple[nn.Module, Tensor, dict]:
    torch.manual_seed(3)
    layers = mlp(20, [64, 64], 3, "softplus")
    network = nn.Sequential(*(nn.Softplus(beta=10) if isinstance(m, nn.Softplus) else m for m in layers))
    return network.double(), 2 * torch.randn(ROWS, 20, dtype=torch.float64), {}


def tanh_mlp() -> tuple[nn.Module, Tensor, dict]:
    torch.manual_seed(4)
    network = mlp(12, [32, 32], 3, "tanh").double()
    for parameter in network.parameters():
        parameter.data *= 2
    return network, 2 * torch.randn(ROWS, 12, dtype=torch.float64), {}


def of_digits(name: str) -> tuple[nn.Module, Tensor, dict]:
    return copy.deepcopy(trained(name)).double(), digits()[2][5 : 5 + ROWS].double(), PATCHES


CASES = {
    "softplus_mlp": softplus_mlp,
    "tanh_mlp": tanh_mlp,
    "gelu_mlp": lambda: of_digits("gelu_mlp"),
    "gru": lambda: of_digits("gru"),
}


@cache
def case(name, score):
    """A network, rows, their predicted targets, options, and interactions to nine digits."""
    network, inputs, options = CASES[name]()
    target = network(inputs).argmax(dim=1)
    exact = explain(IntegratedHessians(rtol=1e-9, **options), network, inputs, target=target, score=score)
    assert exact.relative_error.max() < 1e-5
    return network, inputs, target, options, exact


@pytest.mark.parametrize("score", ["logit", "probability"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rtol", [0.05, 1e-3])
def test_the_reported_error_covers_the_true_one_without_shouting(name, score, rtol):
    network, inputs, target, options, exact = case(name, score)
    engine = IntegratedHessians(rtol=rtol, **options)
    found = explain(engine, network, inputs, target=target, score=score)
    true = relative_distance(found.curves["interaction"], exact.curves["interaction"])
    assert (found.status == 0).all() and (found.relative_error <= rtol).all()
    assert (true <= 1.25 * found.relative_error).double().mean() >= 0.95
    assert (found.relative_error / true).median() < 6
    # integrated gradients, the map of the same sweep, converge faster than the matrix
    attribution = relative_distance(found.attribution, exact.attribution)
    assert (attribution <= 1.25 * found.relative_error).double().mean() >= 0.95


@pytest.mark.parametrize("name", ["gelu_mlp", "gru"])
def test_so_does_that_of_one_row_and_of_a_few_groups(name):
    network, inputs, target, options, exact = case(name, "logit")
    matrix = exact.curves["interaction"]
    one = explain(IntegratedHessians(rtol=0.01, row=6, **options), network, inputs, target=target)
    seen = matrix[:, 6].any(dim=1)  # some digits are blank there
    assert not one.curves["interaction"][~seen].any() and not one.relative_error[~seen].any()
    true = relative_distance(one.curves["interaction"], matrix[:, 6:7])
    assert (true <= 1.25 * one.relative_error)[seen].double().mean() >= 0.9
    pair = explain(IntegratedHessians(rtol=0.01, features=(5, 6), **options), network, inputs, target=target)
    true = relative_distance(pair.curves["interaction"][:, :2, :2], matrix[:, 5:7, 5:7])
    assert true.median() < 0.01


def test_float32_reports_no_less_than_its_rounding():
    network, inputs, target, options, exact = case("softplus_mlp", "logit")
    single = copy.deepcopy(network).float()
    found = explain(IntegratedHessians(rtol=1e-5, **options), single, inputs.float(), target=target)
    true = relative_distance(found.curves["interaction"].double(), exact.curves["interaction"])
    assert (true <= 1.25 * found.relative_error).double().mean() >= 0.95
    assert found.relative_error.max() < 1e-5
