"""Differences of scores against gradients: kinks, jumps and rounding are no contradiction, wrong gradients are."""

from __future__ import annotations

import pytest
import torch
from helpers.functions import Function
from torch import nn

from xattr_cli.numerics.paths.consistency import check_slopes, node_positions, unexplained_change
from xattr_cli.numerics.paths.straight import StraightPath

ROWS, NODES, NETWORKS = 4, 4, 25


def perceptron(generator, features, activation, gain=1.4):
    """A random network (n, features) → (n,) of one to three hidden layers."""
    depth = int(torch.randint(1, 4, (1,), generator=generator))
    hidden = torch.randint(4, 48, (depth,), generator=generator).tolist()
    layers = [
        (gain * torch.randn(n, m, generator=generator) / m**0.5, 0.3 * torch.randn(n, generator=generator))
        for m, n in zip([features, *hidden], [*hidden, 1], strict=True)
    ]

    def function(x):
        for weight, bias in layers[:-1]:
            x = activation(x @ weight.T + bias)
        return (x @ layers[-1][0].T + layers[-1][1])[:, 0]

    return function


def quantised(levels):
    return lambda z: (torch.relu(z) * levels).round() / levels


def of_relu(wrap, gain=1.4):
    """A random network of ReLUs, wrapped into a function of it and of x."""

    def made(generator, features):
        network = perceptron(generator, features, torch.relu, gain)
        return lambda x: wrap(network, x)

    return made


def with_quantised_branch(generator, features):
    plain, stepped = (perceptron(generator, features, act) for act in (torch.relu, quantised(16)))
    return lambda x: plain(x) + stepped(x)


HONEST = {
    "relu": of_relu(lambda f, x: f(x)),
    "abs": lambda g, d: perceptron(g, d, torch.abs),
    "selu": lambda g, d: perceptron(g, d, nn.functional.selu),
    "tanh": lambda g, d: perceptron(g, d, torch.tanh),
    "sigmoid of 200 z": lambda g, d: perceptron(g, d, lambda z: torch.sigmoid(200 * z)),
    "maximum of pairs": lambda g, d: perceptron(g, d, lambda z: torch.maximum(z, z.roll(1, dims=1))),
    "half precision inside": lambda g, d: perceptron(g, d, lambda z: torch.relu(z).half().float()),
    "sorted": of_relu(lambda f, x: f(x.sort(dim=1).values)),
    "large offset": of_relu(lambda f, x: 1e4 + f(x)),
    "cancelling": of_relu(lambda f, x: (f(x) + 1e3) * 1e3 - 1e6),
    "log-probability": of_relu(lambda f, x: nn.functional.logsigmoid(5 * f(x)), gain=2.0),
    "unscaled": of_relu(lambda f, x: f(x * 10 ** torch.linspace(-3, 5, x.shape[1]))),
    "quantised branch": with_quantised_branch,
}

WRONG = {
    "detached branch": lambda a, b: lambda x: a(x) + b(x.detach()),
    "detached gate": lambda a, b: lambda x: (1 + a(x)) * (3 + b(x)).detach(),
    "straight through": lambda a, b: lambda x: a(x + (x.round() - x).detach()),
    "reversed": lambda a, b: lambda x: a(x) + 2 * (2 * b(x).detach() - b(x)),
}


def checked(function, features, generator):
    x, start = torch.randn(2, ROWS, features, generator=generator)
    return check_slopes(Function(function), StraightPath(start, x), node_positions(ROWS, NODES))


@pytest.mark.parametrize("kind", HONEST)
def test_a_derivative_is_never_contradicted_twice(kind):
    for seed in range(NETWORKS):
        generator = torch.Generator().manual_seed(1000 + seed)
        features = int(torch.randint(3, 20, (1,), generator=generator))
        found = checked(HONEST[kind](generator, features), features, generator)
        assert found.contradicts.sum() <= 1


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_derivative_is_contradicted(kind):
    caught = 0
    for seed in range(NETWORKS):
        generator = torch.Generator().manual_seed(2000 + seed)
        a, b = (perceptron(generator, 6, torch.tanh) for _ in range(2))
        found = checked(WRONG[kind](a, b), 6, generator)
        caught += bool(found.contradicts.sum() >= 2)
    assert caught >= 0.8 * NETWORKS


def test_a_node_is_informative_where_the_score_changes():
    line = StraightPath(torch.zeros(1, 1), torch.ones(1, 1))
    t = torch.tensor([[0.25, 0.75]], dtype=torch.float64)
    found = check_slopes(Function(lambda x: torch.relu(x[:, 0] - 0.5)), line, t)
    assert found.informative.tolist() == [[False, True]] and not found.contradicts.any()
    torch.testing.assert_close(found.slope, torch.tensor([[0.0, 1.0]], dtype=torch.float64))


def test_scores_that_are_not_finite_say_nothing():
    line = StraightPath(torch.full((1, 1), -1.0), torch.ones(1, 1))
    found = check_slopes(Function(lambda x: x[:, 0].log()), line, node_positions(1, 8))
    assert found.informative.any() and not found.informative.all() and not found.contradicts.any()


def test_nodes_of_two_rows_differ_and_none_is_an_end():
    t = node_positions(5, 7)
    assert len(t.unique()) == 35 and t.min() > 2**-4 and t.max() < 1 - 2**-4


CHANGES = {
    "a jump": (lambda x: 2 * (x[:, 0] > 0.3123).float() + x[:, 0], 2.0, True),
    "many jumps": (lambda x: (40 * x[:, 0]).round() / 10 + x[:, 0], 4.0, True),
    "a detached part": (lambda x: x[:, 0].square().detach() + x[:, 0], 1.0, True),
    "kinks": (lambda x: torch.relu(x[:, 0] - 0.3123) + torch.relu(0.7217 - x[:, 0]), 0.0, False),
    "a steep place": (lambda x: torch.sigmoid(3000 * (x[:, 0] - 0.3123)), 0.0, False),
    "a narrow ramp": (lambda x: 50 * (torch.relu(x[:, 0] - 0.3) - torch.relu(x[:, 0] - 0.302)), 0.0, False),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_gap_falls_with_refinement_unless_the_gradient_leaves_it_out(kind):
    function, change, stays = CHANGES[kind]
    line = StraightPath(torch.zeros(2, 1), torch.tensor([[1.0], [1.0]]))
    found = unexplained_change(Function(function), line)
    torch.testing.assert_close(found.change, torch.full((2,), change, dtype=torch.float64), atol=0.02, rtol=0.02)
    assert (found.persists > 0.9).all() if stays else (found.persists < 0.3).all()
