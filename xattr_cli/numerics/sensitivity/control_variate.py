"""A polynomial surrogate as control variate: what it explains is known exactly, and only the rest is sampled.

Of each replicate's estimates, those of a surrogate at the same points are taken away, and its exact values added.
The surrogate of a replicate is fitted to all other replicates, so that nothing is biased, and the spread of the
replicates tells the remaining error. Smooth functions of few nodes gain one or more digits; networks with
kinks nothing, and keep the plain estimates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .factorial import FullFactorial, worths
from .polynomial_chaos import Chaos
from .replicates import mean_of, share_of
from .shapley import memberships, subset_worths
from .sums import PARTS, Sampler, Sums

__all__ = ["Control", "is_better"]

POINTS_PER_TERM = 8
GAIN = 0.5
"""Standard errors must fall to so much at least: the smaller of two that are equal in truth would be too small."""
MOST_APART = 3.0
"""Of the plain estimate's errors, that the variances may differ."""
ROUNDING = 64
ROWS = 2**12


class Control:
    """Takes what a surrogate explains out of the sums of all replicates, as long as it helps.

    Arguments:
        sampler: that makes the sums.

    Example:
        >>> from xattr_cli.numerics.sensitivity.pick_freeze import Response
        >>> from xattr_cli.numerics.sensitivity.sums import Sampling
        >>> both = torch.arange(2)
        >>> response = Response(((), ()), both, both, lambda u: u, lambda u: u.sum(1, keepdim=True), 1, 16, 1e-16)
        >>> chaos = Chaos(("legendre", "legendre"), degree=3)
        >>> sampling = Sampling(exact=True, second_order=False, replicates=4, memory_bytes=2**20, surrogate=chaos)
        >>> import numpy as np
        >>> sampler = Sampler(response, sampling, lambda stream: np.random.default_rng([0, stream]))
        >>> controlled = Control(sampler).of([sampler.sums(k, 0, 128) for k in range(4)], draws=128)
        >>> [round(sums["shapley"][0].item() / 128, 9) for sums in controlled]  # 1/12, without noise
        [0.083333333, 0.083333333, 0.083333333, 0.083333333]
    """

    def __init__(self, sampler: Sampler) -> None:
        self.sampler = sampler
        self.helps = sampler.sampling.surrogate is not None

    def of(self, totals: Sequence[Sums], draws: int) -> list[Sums]:
        """Sums as they are, or controlled for those targets where that halves the standard errors.

        Where it helps no target, it is not tried again in later rounds.

        Arguments:
            totals: per replicate, sums over `draws` draws, with what a fit needs.
            draws: of each replicate.
        """
        plain = [{name: values for name, values in total.items() if name not in _FIT} for total in totals]
        chaos = self.sampler.sampling.surrogate
        if chaos is None or not self.helps:
            return plain
        terms = chaos.up_to(2 * draws * (len(totals) - 1) // POINTS_PER_TERM)
        surrogate = _Surrogate(chaos, terms, self.sampler, draws)
        other = [
            {**sums, **{name: sums[name] + change for name, change in surrogate.changes(totals, i).items()}}
            for i, sums in enumerate(plain)
        ]
        better = is_better(other, plain)
        self.helps = bool(better.any())
        return [
            {name: torch.where(better, controlled[name], values) for name, values in sums.items()}
            for sums, controlled in zip(plain, other, strict=True)
        ]


_FIT = ("gram", "moments")


def is_better(other: Sequence[Sums], plain: Sequence[Sums]) -> Tensor:
    """(targets,) bool, whether controlled sums of the replicates are to be preferred to the plain ones.

    Standard errors must fall as shares of the plain variance: as shares of their own they would also shrink
    where a surrogate that overshoots between its points invents a variance. And the two variances must agree
    within what the plain replicates leave open.

    Arguments:
        other, plain: per replicate, the sums with control and without.

    Example:
        >>> def totals(spread):
        ...     offsets = [spread * torch.tensor([[k], [-k]]) for k in (-1.0, 0.0, 1.0)]
        ...     names = ("shapley", "first_order", "total")
        ...     return [{"variance": torch.tensor([2.0])} | {name: 1 + off for name in names} for off in offsets]
        >>> is_better(totals(0.01), totals(0.1)).tolist(), is_better(totals(0.1), totals(0.1)).tolist()
        ([True], [False])
    """
    controlled, sampled = (
        mean_of(torch.stack([total["variance"] for total in totals])) for totals in (other, plain)
    )
    apart = (controlled.value - sampled.value).abs()
    rounding = ROUNDING * torch.finfo(apart.dtype).eps * sampled.value.abs()
    agree = apart <= torch.maximum(MOST_APART * sampled.standard_error, rounding)
    # a replicate that is far off alone may be hidden in the mean by another one
    each = torch.stack([total["variance"] for total in other]) - sampled.value
    plain_each = torch.stack([total["variance"] for total in plain]) - sampled.value
    steady = each.abs().amax(dim=0) <= MOST_APART * plain_each.abs().amax(dim=0) + rounding
    return agree & steady & (_uncertainty(other, sampled.value) < GAIN**2 * _uncertainty(plain, sampled.value))


def _uncertainty(totals: Sequence[Sums], variance: Tensor) -> Tensor:
    """(targets,) Σ of squared standard errors of everything that is estimated per node, over `variance`²."""
    squares = torch.zeros(())
    for name, whole in PARTS.items():
        if name in totals[0] and name != "second_order":
            parts, wholes = (torch.stack([total[key] for total in totals]) for key in (name, whole))
            ratio = wholes.mean(dim=0) / variance
            squares = squares + (share_of(parts, wholes).standard_error * ratio).square().sum(dim=0)
    return squares


@dataclass(frozen=True)
class _Surrogate:
    chaos: Chaos
    terms: int
    sampler: Sampler
    draws: int

    def changes(self, totals: Sequence[Sums], replicate: int) -> Sums:
        """What control adds to the sums of a replicate."""
        coefficients = self._coefficients(totals, replicate)
        response = self.sampler.response
        variances = self.chaos.variances(coefficients, response.noise_owner, response.nodes)
        exact = self.sampler.parts(self.draws * subset_worths(variances))
        sampled = self.sampler.parts(worths(self._energies(coefficients, replicate)))
        return {name: exact[name] - sampled[name] for name in exact}

    def _coefficients(self, totals: Sequence[Sums], replicate: int) -> Tensor:
        """(terms, targets) least squares over the other replicates, without nodes that influence nothing."""
        others = [total for i, total in enumerate(totals) if i != replicate]
        gram = torch.stack([total["gram"] for total in others]).sum(dim=0)[: self.terms, : self.terms]
        moments = torch.stack([total["moments"] for total in others]).sum(dim=0)[: self.terms]
        used = self._terms_of_influence(totals)
        coefficients = torch.zeros_like(moments)
        for pattern in torch.unique(used, dim=1).T:
            targets, terms = (used == pattern[:, None]).all(dim=0), pattern.nonzero()[:, 0]
            # a term of a node without influence would only fit noise, and spoil those of the others
            fit = torch.linalg.lstsq(gram[terms][:, terms], moments[terms][:, targets]).solution
            coefficients[terms[:, None], targets.nonzero()[:, 0]] = fit
        return coefficients

    def _terms_of_influence(self, totals: Sequence[Sums]) -> Tensor:
        """(terms, targets) bool, which terms touch none of the nodes that a target does not depend on."""
        idle = (torch.stack([total["total"] for total in totals]) == 0).all(dim=0)
        touches = self.chaos.exponents[: self.terms] > 0
        return touches.double() @ idle.double()[self.sampler.response.noise_owner] == 0

    def _energies(self, coefficients: Tensor, replicate: int) -> Tensor:
        """Energies of the surrogate's factorial over all draws of a replicate."""
        design = FullFactorial(self.sampler.response.nodes)
        energies = coefficients.new_zeros(design.points, coefficients.shape[1])
        halves = self.sampler.draws(replicate, 0, self.draws)
        for u, v in zip(*(torch.split(half, ROWS) for half in halves), strict=True):
            at_u, at_v = self.chaos.factors(u), self.chaos.factors(v)
            outputs = [self.chaos.terms(mixed, self.terms) @ coefficients for mixed in self._mixtures(at_u, at_v)]
            energies += design.energies(torch.stack(outputs, dim=1))
        return energies

    def _mixtures(self, at_u: Tensor, at_v: Tensor) -> list[Tensor]:
        """Factors at the points of the factorial, in the order of the subsets."""
        owner = self.sampler.response.noise_owner
        members = memberships(self.sampler.response.nodes)[:, owner]
        return [torch.where(from_v[:, None, None], at_v, at_u) for from_v in members]
