"""How much the noise of each node contributes to the variance of every output, until it is known well enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..student import NORMAL_95
from .control_variate import Control
from .pick_freeze import Response
from .replicates import ReplicateEstimate, mean_of, share_of
from .sums import PARTS, Generators, Sampler, Sampling, Sums, evaluations_per_draw

__all__ = ["Contributions", "Rule", "Step", "estimate_contributions"]

Step = Callable[[str, Callable[[], Mapping[str, np.ndarray]]], Mapping[str, np.ndarray]]

ROUNDING = 8
"""Outputs whose spread is below so many times the rounding of their mean are constant."""


@dataclass(frozen=True)
class Rule:
    """How contributions are estimated, and when it is enough.

    Attributes:
        sampling: which points are evaluated for each draw.
        draws: of (U, V) in each replicate of the first round, a power of two; every further round doubles them.
        rtol: half the widest 95 % interval of an estimate, as a share of the variance, at which to stop.
        max_evaluations: no further round is begun that would exceed it.

    Example:
        >>> every = Sampling(exact=True, second_order=False, replicates=4, memory_bytes=2**20)
        >>> Rule(every, draws=256, rtol=0.05, max_evaluations=2**20).draws
        256
    """

    sampling: Sampling
    draws: int
    rtol: float
    max_evaluations: int


@dataclass(frozen=True)
class Contributions:
    """What was found.

    Attributes:
        shares: per name of `PARTS`, (nodes, targets) shares of the variance of each target, or
            (nodes, nodes, targets) for "second_order"; NaN for a target that is constant.
        weighted: the same without targets, as shares of the sum of their variances.
        variance: (targets,) of each output.
        mean: (targets,) of each output.
        half_width: (targets,) half the widest 95 % interval among the shares of each; NaN if it is constant.
        draws: of (U, V), over all replicates.
        evaluations: of the response.
        converged: whether no half width exceeds `rtol`.

    Example:
        >>> both = torch.arange(2)
        >>> def outputs(noise):
        ...     return noise @ noise.new_tensor([[1.0], [2.0]])
        >>> response = Response(((), ()), both, both, lambda u: u, outputs, targets=1, row_bytes=16, epsilon=1e-16)
        >>> every = Sampling(exact=True, second_order=False, replicates=4, memory_bytes=2**20)
        >>> rule = Rule(every, draws=256, rtol=0.05, max_evaluations=2**20)
        >>> found = estimate_contributions(response, rule, lambda stream: np.random.default_rng([0, stream]))
        >>> found.variance.value.round(decimals=2).tolist(), found.converged  # (1² + 2²) / 12
        ([0.42], True)
    """

    shares: Mapping[str, ReplicateEstimate]
    weighted: Mapping[str, ReplicateEstimate]
    variance: ReplicateEstimate
    mean: Tensor
    half_width: Tensor
    draws: int
    evaluations: int
    converged: bool

    @property
    def is_constant(self) -> Tensor:
        """(targets,) bool, which outputs do not vary."""
        return self.variance.value == 0


def estimate_contributions(
    response: Response,
    rule: Rule,
    generators: Generators,
    *,
    step: Step = lambda name, compute: compute(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Contributions:
    """Shapley and topological contributions, first-order and total indices, with standard errors.

    With y the response to the independent noise u of its nodes, v(S) = Var(E[y | u_S]). A contribution is the
    mean of v(S ∪ j) − v(S) over orders of the nodes, S being those before j: over all orders ("shapley"), or
    over the topological orders ("topological"); all as shares of Var(y).

    Reference: Janzing et al. 2024, "Quantifying intrinsic causal contributions via structure preserving
    interventions"; Saha et al. 2025, arXiv 2505.09660; Owen 2014, "Sobol' indices and Shapley value".

    Arguments:
        response: y.
        rule: how to estimate, and when to stop.
        generators: of random numbers.
        step: called with the name of a step and what computes it; may give what it gave before.
        progress: told the evaluations done, and those after the present round.

    Example:
        >>> both = torch.arange(2)
        >>> def outputs(noise):
        ...     return noise @ noise.new_tensor([[1.0], [2.0]])
        >>> response = Response(((), ()), both, both, lambda u: u, outputs, targets=1, row_bytes=16, epsilon=1e-16)
        >>> every = Sampling(exact=True, second_order=False, replicates=4, memory_bytes=2**20)
        >>> rule = Rule(every, draws=256, rtol=0.05, max_evaluations=2**20)
        >>> found = estimate_contributions(response, rule, lambda stream: np.random.default_rng([0, stream]))
        >>> found.shares["shapley"].value[:, 0].round(decimals=2).tolist()  # 1² and 2² of 1² + 2²
        [0.2, 0.8]
    """
    sampler = Sampler(response, rule.sampling, generators)
    cost = evaluations_per_draw(response.nodes, rule.sampling, has_arrows=sampler.has_arrows)
    control = Control(sampler)
    totals: list[Sums] = [{} for _ in range(rule.sampling.replicates)]
    first, stop = 0, rule.draws
    while True:
        for replicate, total in enumerate(totals):
            done = first * len(totals) + (stop - first) * replicate
            progress(done * cost, stop * len(totals) * cost)
            _add(total, step(f"draws-{first}-{stop}-{replicate}", _work(sampler, replicate, first, stop)))
        result = _summarise(control.of(totals, stop), stop, cost, rule, response.epsilon)
        if result.converged or 2 * result.evaluations > rule.max_evaluations:
            progress(result.evaluations, result.evaluations)
            return result
        first, stop = stop, 2 * stop


def _work(sampler: Sampler, replicate: int, first: int, stop: int) -> Callable[[], Mapping[str, np.ndarray]]:
    return lambda: {name: sums.numpy() for name, sums in sampler.sums(replicate, first, stop).items()}


def _add(total: Sums, more_sums: Mapping[str, np.ndarray]) -> None:
    for name, values in more_sums.items():
        more = torch.from_numpy(np.asarray(values))
        total[name] = total[name] + more if name in total else more


def _summarise(totals: Sequence[Sums], draws: int, cost: int, rule: Rule, epsilon: float) -> Contributions:
    means = {name: torch.stack([total[name] for total in totals]) / draws for name in totals[0]}
    mean = means["mean"].mean(dim=0)
    constant = means["variance"].mean(dim=0) <= (ROUNDING * epsilon * mean).square()
    means = {name: values * ~constant for name, values in means.items()}
    shares = {name: share_of(means[name], means[whole]) for name, whole in PARTS.items() if name in means}
    summed = {name: values.sum(dim=-1, keepdim=True) for name, values in means.items()}
    weighted = {name: share_of(summed[name], summed[whole]) for name, whole in PARTS.items() if name in means}
    errors = [share.standard_error.flatten(0, -2).amax(dim=0) for share in shares.values()]
    half_width = NORMAL_95 * torch.stack(errors).amax(dim=0)
    evaluations = draws * len(totals) * cost
    return Contributions(
        shares=shares,
        weighted={name: _without_targets(share) for name, share in weighted.items()},
        variance=mean_of(means["variance"]),
        mean=mean,
        half_width=half_width,
        draws=draws * len(totals),
        evaluations=evaluations,
        converged=bool((half_width[~constant] <= rule.rtol).all()),
    )


def _without_targets(share: ReplicateEstimate) -> ReplicateEstimate:
    return ReplicateEstimate(share.value[..., 0], share.standard_error[..., 0])
