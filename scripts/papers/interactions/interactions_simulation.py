"""Simulated data whose pairwise terms are known, and the removal of interactions from their labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "FEATURES",
    "FUNCTIONS",
    "PAIRS",
    "REMOVALS",
    "TERMS",
    "Simulation",
    "inputs_of",
    "order_of",
    "simulate",
]

FUNCTIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "tanh of the sum": lambda first, second: torch.tanh(first + second),
    "cosine of the sum": lambda first, second: torch.cos(first + second),
    "product": torch.mul,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "square of the sum": lambda first, second: (first + second).square(),
}
FEATURES = 10
TERMS = 20
PAIRS = torch.triu_indices(FEATURES, FEATURES, offset=1)
"""(2, 45): features of every pair."""

REDRAWN, NOISE = "redrawn", "noise"
REMOVALS = (REDRAWN, NOISE)
"""What stands for a term that is gone: the term at redrawn features, or the term times a normal draw."""


@dataclass(frozen=True)
class Simulation:
    """Labels that are a sum of functions of pairs of Gaussian features, `Σ c_t g(x_i, x_j)`, of variance 1.

    Attributes:
        function: g, a key of `FUNCTIONS`.
        removal: one of `REMOVALS`.
        inputs: (samples, features).
        pairs: (terms,) columns of `PAIRS`; no pair has two terms.
        terms: (samples, terms) c_t g(x_i, x_j).
        gone: (samples, terms) what takes the place of a term that is removed.
        change: (samples, terms) expected square of `gone` − `terms`.
    """

    function: str
    removal: str
    inputs: Tensor
    pairs: Tensor
    terms: Tensor
    gone: Tensor
    change: Tensor

    def labels(self, order: Tensor, removed: int) -> Tensor:
        """(samples,) labels without the `removed` strongest interactions of every sample.

        A pair without a term has nothing to remove, so that to name it is a turn wasted.

        Arguments:
            order: (samples, pairs) place of every pair, 0 the strongest.
            removed: k, the same for every sample.
        """
        return torch.where(order[:, self.pairs] < removed, self.gone, self.terms).sum(dim=1)

    def known_strength(self) -> Tensor:
        """(samples, pairs) expected squared change of the label when a pair is removed; 0 without a term."""
        strength = torch.zeros(len(self.inputs), PAIRS.shape[1])
        strength[:, self.pairs] = self.change
        return strength


def inputs_of(seed: int, samples: int) -> Tensor:
    """(samples, features) standard normal; every function of a seed has the same."""
    return torch.randn(samples, FEATURES, generator=torch.Generator().manual_seed(seed))


def simulate(function: str, removal: str, seed: int, samples: int) -> Simulation:
    """Twenty random pairs, and both ways of the paper's authors to remove them.

    `redrawn` has standard normal coefficients, and a term that is gone varies as before, but no input tells
    it any more. `noise` has equal coefficients, and a term that is gone keeps its size, but not its sign.
    """
    generator = torch.Generator().manual_seed(1000 * (seed + 1) + list(FUNCTIONS).index(function))
    pairs = torch.randperm(PAIRS.shape[1], generator=generator)[:TERMS]
    raw = torch.randn(TERMS, generator=generator) if removal == REDRAWN else torch.ones(TERMS)
    inputs = inputs_of(seed, samples)
    first, second = PAIRS[:, pairs]
    unscaled = raw * FUNCTIONS[function](inputs[:, first], inputs[:, second])
    scale = 1 / unscaled.sum(dim=1).std()
    terms = scale * unscaled
    draws = torch.randn(2, samples, TERMS, generator=generator)
    if removal == REDRAWN:
        gone = scale * raw * FUNCTIONS[function](*draws)
        change = (terms - gone.mean(dim=0)).square() + gone.var(dim=0)
    else:
        gone, change = terms * draws[0], 2 * terms.square()
    return Simulation(function, removal, inputs, pairs, terms, gone, change)


def order_of(strength: Tensor) -> Tensor:
    """(samples, pairs) place of every pair of a sample, 0 the one of greatest absolute strength."""
    return strength.abs().argsort(dim=1, descending=True, stable=True).argsort(dim=1)
