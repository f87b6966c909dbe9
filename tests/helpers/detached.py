"""Networks whose autograd is not their derivative, networks that only look like it, and saturated ones."""

from __future__ import annotations

import torch
from torch import nn

FEATURES = 6


class Written(nn.Module):
    """A formula of two small networks `a` and `b` and of the input."""

    def __init__(self, formula, activation=nn.Tanh, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.a, self.b = (
                nn.Sequential(nn.Linear(FEATURES, 16), activation(), nn.Linear(16, 3)) for _ in range(2)
            )
        self.formula = formula

    def forward(self, x):
        return self.formula(self, x)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class WrongSwish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * torch.sigmoid(x)


class SwishLayer(nn.Module):
    def forward(self, x):
        return WrongSwish.apply(2 * x)


def without_gradient(network, x):
    with torch.no_grad():
        return network(x)


# --- autograd is not the derivative -------------------------------------------------------------


def detaches():
    return Written(lambda net, x: net.a(x) + 3 * net.b(x.detach()))


def branches_without_gradient():
    return Written(lambda net, x: net.a(x) + 3 * without_gradient(net.b, x))


def takes_items():
    return Written(lambda net, x: torch.stack([net.a(row) * row.square().sum().item() for row in x]))


def rounds_straight_through():
    return Written(lambda net, x: net.a(StraightThrough.apply(x)))


def rounds_by_a_detached_remainder():
    return Written(lambda net, x: net.a(x + (x.round() - x).detach()))


def reverses():
    return Written(lambda net, x: net.a(x) + 3 * net.b(Reversal.apply(x)))


def swishes_wrongly():
    return Written(lambda net, x: net.a(x), activation=SwishLayer)


def profile_score():
    """BPNet's: logits weighted with their own softmax, which is detached."""
    return Written(lambda net, x: (4 * net.a(x) * torch.softmax(4 * net.a(x), 1).detach()).sum(1))


INCONSISTENT = {
    "detaches": "is detached from it",
    "branches_without_gradient": "under no_grad",
    "takes_items": "item in the network's own forward",
    "rounds_straight_through": "StraightThrough in the network's own forward",
    "rounds_by_a_detached_remainder": "is detached from it",
    "reverses": "Reversal in the network's own forward",
    "swishes_wrongly": "WrongSwish in layer 'a.1'",
    "profile_score": "is detached from it",
}
"""Factory → what the error names."""


# --- autograd is the derivative, wherever there is one ------------------------------------------


def piecewise_linear():
    return Written(lambda net, x: net.a(x), activation=nn.ReLU)


def steep():
    return Written(lambda net, x: net.b(torch.sigmoid(200 * net.a(x)).repeat(1, 2)))


def unscaled():
    scale = 10 ** torch.linspace(-3, 5, FEATURES)
    return Written(lambda net, x: net.a(x * scale), activation=nn.ReLU)


def quantises_a_branch():
    """A branch of 16 levels, whose derivative is 0 as autograd says, and jumps that have none."""
    return Written(lambda net, x: net.a(x) + (4 * net.b(x)).round() / 4)


def steps():
    return Written(lambda net, x: net.a(x) + 5 * (x.sum(1, keepdim=True) > 0.9).float())


def masks():
    return Written(lambda net, x: net.a(x * (x > 0)) + net.b(x.gather(1, x.argsort(1))))


# --- saturated, and without any gradient --------------------------------------------------------


class Formula(nn.Module):
    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, *inputs):
        return self.formula(*inputs)


def saturates():
    return Formula(lambda x: 1 - torch.relu(1 - x))


def saturates_in_two():
    return Formula(lambda a, b: 1 - torch.relu(1 - a + torch.relu(b)))


def is_a_step():
    return Formula(lambda x: (x[:, :1] >= 0).float())
