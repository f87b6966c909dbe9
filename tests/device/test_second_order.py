"""Hessian-vector products: every way agrees with the Hessian of autograd, in calls of every shape."""

from __future__ import annotations

import pytest
import torch
from helpers.blocks import block_of, scorer_of
from helpers.interactions import Formula
from torch import nn

from xattr_cli.device.curvature.field import SecondOrder, _packed, products_of_call
from xattr_cli.device.curvature.hvp import WAYS
from xattr_cli.device.curvature.network import Smoothing, find_curvature, follow_ways, settled_ways
from xattr_cli.engines.interactions.integrated_hessians import IntegratedHessians
from xattr_cli.models.zoo import mlp, sequence_classifier


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, activation="gelu", batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.layer(x).mean(dim=1))


class Branching(nn.Module):
    """Takes its way through Python by what it computes, which cannot be traced or mapped."""

    def __init__(self):
        super().__init__()
        self.inner = mlp(5, [8], 3, "tanh")

    def forward(self, x):
        hidden = self.inner(x)
        return hidden * 2 if float(hidden.detach().sum()) > 1e9 else hidden


def convolutional() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(12, 3))


NETWORKS = {
    "mlp": (lambda: mlp(5, [8, 8], 3, "softplus"), (5,)),
    "convolutional": (convolutional, (1, 4, 4)),
    "gru": (lambda: sequence_classifier(3, 4, 3), (4, 3)),
    "lstm": (lambda: sequence_classifier(3, 4, 3, "lstm", bidirectional=True), (4, 3)),
    "attention": (Attention, (4, 6)),
    "branching": (Branching, (5,)),
}


def network(name, dtype=torch.float64):
    torch.manual_seed(0)
    make, shape = NETWORKS[name]
    module = make().to(dtype).eval().requires_grad_(False)
    x = torch.randn(7, *shape, dtype=dtype)
    return module, x, torch.tensor([0, 1, 2, 1, 0, 2, 2])


def curvature_of(module, x, target, rows=64, directions=6, **options):
    block = block_of(module, x, target=target, rows=rows)
    smoothing = Smoothing(allow=("item",), **options)
    return block, find_curvature(block.scorer, block.rows, smoothing, directions)


def hessian_vector_products(scorer, how, points, directions, context, target):
    """Scores (n,), gradients (n, D) and products H v (n, R, D) at points (n, D) along directions (n, R, D)."""

    def call(part, rows, chunk):
        chunks = torch.split(directions[part].transpose(0, 1), chunk)
        here = {name: tensor[part] for name, tensor in context.items()}
        values, gradients, products = products_of_call(
            scorer, how.way, points[part], iter(chunks), here, target[part], rows
        )
        return values, gradients, torch.cat(list(products)).transpose(0, 1)

    with scorer.exact_arithmetic():
        pieces = list(_packed(scorer, how, len(points), directions.shape[1:], call))
    return [torch.cat(each) for each in zip(*pieces, strict=True)]


def truth(module, x, target, lines, score=lambda outputs: outputs):
    """H v by autograd's own Hessian, sample by sample."""
    products = []
    for sample, output, line in zip(x, target, lines, strict=True):

        def value(flat, sample=sample, output=output):
            return score(module(flat.view(1, *sample.shape)))[0, output]

        # the math kernel: fused attention has no second derivative
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            hessian = torch.autograd.functional.hessian(value, sample.flatten())
        products.append(line @ hessian)
    return torch.stack(products)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("way", WAYS)
def test_products_are_those_of_the_hessian(name, way):
    module, x, target = network(name)
    block, found = curvature_of(module, x, target)
    if name == "branching" and way == "forward_over_reverse":
        pytest.skip("torch.func cannot follow it")
    lines = torch.randn(7, 6, x[0].numel(), dtype=torch.float64)
    values, gradients, products = hessian_vector_products(
        found.scorer, SecondOrder(way, 8), x.flatten(1), lines, {}, target
    )
    assert torch.allclose(products, truth(module, x, target, lines), atol=1e-10)
    expected_values, expected_gradients = block.gradients(x.flatten(1)[:, None])
    assert torch.allclose(values, expected_values[:, 0]) and torch.allclose(gradients, expected_gradients[:, 0])


@pytest.mark.parametrize("lanes", [1, 2, 5, 16, 1000])
@pytest.mark.parametrize("directions", [1, 3, 11])
def test_calls_of_any_shape_find_the_same(lanes, directions):
    module, x, target = network("mlp")
    _, found = curvature_of(module, x, target)
    lines = torch.randn(7, directions, 5, dtype=torch.float64)
    expected = truth(module, x, target, lines)
    for way in WAYS:
        how = SecondOrder(way, lanes)
        products = hessian_vector_products(found.scorer, how, x, lines, {}, target)[2]
        assert torch.allclose(products, expected, atol=1e-12)
        points, chunk = how.shape(directions, 5)
        assert 1 <= chunk <= directions and points & (points - 1) == 0
        assert way == "one_by_one" or points * chunk <= max(lanes, 1)


def test_a_probability_is_curved_by_its_softmax():
    module, x, target = network("mlp")
    block = block_of(module, x, target=target, score="probability")
    found = find_curvature(block.scorer, block.rows, Smoothing(), 6)
    lines = torch.randn(7, 6, 5, dtype=torch.float64)
    products = hessian_vector_products(found.scorer, found.how, x, lines, {}, target)[2]
    expected = truth(module, x, target, lines, score=lambda outputs: outputs.softmax(dim=1))
    assert torch.allclose(products, expected, atol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_way_that_is_chosen_agrees_with_the_plainest(name):
    module, x, target = network(name, torch.float32)
    _, found = curvature_of(module, x, target)
    lines = torch.randn(7, 6, x[0].numel())
    chosen, plainest = (
        hessian_vector_products(found.scorer, how, x.flatten(1), lines, {}, target)[2]
        for how in (found.how, SecondOrder("one_by_one", 64))
    )
    assert torch.allclose(chosen, plainest, atol=1e-5)


def test_a_score_without_curvature_has_products_of_zero():
    for formula in (lambda x: 3 * x[:, 0] - x[:, 1], lambda x: x[:, 0] * 0 + 1):
        module, x = Formula(formula), torch.randn(3, 2, dtype=torch.float64)
        scorer = scorer_of(module, x)
        for way in WAYS:
            found = hessian_vector_products(
                scorer, SecondOrder(way, 8), x, torch.ones(3, 4, 2, dtype=torch.float64), {}, torch.zeros(3).long()
            )
            assert not found[2].any()


def test_what_was_settled_is_remembered_and_can_be_followed():
    module, x, target = network("mlp")
    block, found = curvature_of(module, x, target)
    again = find_curvature(block.scorer, block.rows, Smoothing(allow=("item",)), 6)
    assert again is found
    settled = settled_ways(block.scorer)
    (key,) = settled
    assert settled[key] == {"way": found.how.way, "lanes": found.how.lanes}
    follow_ways(block.scorer, {key: {"way": "one_by_one", "lanes": 3}, "another": {}})
    assert (found.how.way, found.how.lanes) == ("one_by_one", 3)


def test_the_network_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 1))
    x = torch.randn(5, 4)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    expected = module(x.clone())
    engine = IntegratedHessians(rtol=0.1)
    engine.explain(block_of(module, x))
    assert torch.equal(module(x.clone()), expected)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert type(module[1]) is nn.ReLU and not module[1]._forward_hooks
