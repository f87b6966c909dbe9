"""Networks and structural causal models that job files of the tests name as `helpers.causal_networks:...`."""

from __future__ import annotations

import math

import torch
from torch import nn

__all__ = []


class Formula(nn.Module):
    """A function of flat rows as a network."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x, *others):
        return self.function(x)


# --- networks -----------------------------------------------------------------------------------


def weighted_sum():
    return Formula(lambda x: x[:, :1] - x[:, 1:2] + 2 * x[:, 2:3])


def last_column():
    return Formula(lambda x: x[:, -1:])


def product():
    return Formula(lambda x: x.prod(dim=1, keepdim=True))


def exclusive_or():
    """Of two bits; written so that it has a gradient."""
    return Formula(lambda x: x[:, :1] + x[:, 1:2] - 2 * x[:, :1] * x[:, 1:2])


def both():
    return Formula(lambda x: x[:, :1] * x[:, 1:2])


def plain_sum():
    return Formula(lambda x: x.sum(dim=1, keepdim=True))


def three_outputs():
    """Only the first node; both, with unequal variances; a constant."""
    return Formula(lambda x: torch.stack([x[:, 0], 2 * x[:, 0] + x[:, 1], 0 * x[:, 0] + 7], dim=1))


def many_outputs():
    """500 of ten inputs."""
    weights = torch.arange(5000.0).reshape(10, 500).sin()
    return Formula(lambda x: (x @ weights).tanh())


def conjunction():
    """Of two bits."""
    return Formula(lambda x: x[:, :1] * x[:, 1:2])


def ishigami():
    def function(x):
        return x[:, :1].sin() + 7 * x[:, 1:2].sin() ** 2 + 0.1 * x[:, 2:3] ** 4 * x[:, :1].sin()

    return Formula(function)


def colour_and_size():
    """Two columns of a one-hot block with three categories, and a number."""
    return Formula(lambda x: 3 * x[:, :1] + x[:, 1:2] + 2 * x[:, 3:4])


def narrow():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))


# --- structural causal models -------------------------------------------------------------------


def chain(noise):
    """X1 = N1, X2 = 2 X1 + N2, X3 = X2 − X1 + N3 with variances 1, 4, 1."""
    x1 = noise[:, 0]
    x2 = 2 * x1 + 2 * noise[:, 1]
    return torch.stack([x1, x2, x2 - x1 + noise[:, 2]], dim=1)


def heavy_tail(noise):
    return torch.stack([noise[:, 0], noise[:, 1] * (noise[:, 0] / 2).exp()], dim=1)


def same(noise):
    return noise


def folded(noise):
    """Two values of the second node's noise give one input."""
    return torch.stack([noise[:, 0], noise[:, 1] ** 2], dim=1)


def bits(noise):
    return (noise > 0).to(noise)


def bits_reparametrised(noise):
    """The same distribution, from noise that is read the other way round."""
    return (noise < 0).to(noise)


def chain_reparametrised(noise):
    """The same distribution, from noise that went through another monotone map and back."""
    return chain(torch.sinh(torch.asinh(-noise)))


def running_sum(noise):
    """Eight nodes, each its cause and noise of its own."""
    return noise.cumsum(dim=1) / math.sqrt(8)


def colour_then_size(noise):
    """A category of three, one-hot, and a size that depends on it."""
    number = (noise[:, 0] > 0).long() + (noise[:, 0] > 1).long()
    colour = torch.nn.functional.one_hot(number, 3).to(noise)
    return torch.cat([colour, (2 * colour[:, 1] - colour[:, 2] + noise[:, 1])[:, None]], dim=1)
