"""Sums over draws of what contributions are estimated from, for one replicate after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .factorial import FullFactorial, PairDesign, worths
from .linear_extensions import DownSets, TopologicalOrders, topological_values
from .permutation_walk import RoundWalk, last_node_first
from .pick_freeze import PickFreezeDesign, Response, evaluate_subsets
from .polynomial_chaos import Chaos, fit_sums
from .shapley import closed_pairs, last_gains, shapley_values, single_worths
from .sobol_sequence import paired_draws

__all__ = ["PARTS", "Generators", "Sampler", "Sampling", "Sums", "evaluations_per_draw"]

Sums = dict[str, Tensor]
"""Name -> sums over draws, with the targets along the last axis."""
Generators = Callable[[int], np.random.Generator]
"""Number of a stream -> random numbers; equal numbers give equal ones."""

PARTS = {
    "shapley": "variance",
    "topological": "topological_variance",
    "first_order": "variance",
    "total": "variance",
    "second_order": "pair_variance",
}
"""What is estimated -> the estimate of the variance that it is a share of, so that shares add up to exactly 1."""

_ORDERS = 2**20  # streams below scramble, those above order


@dataclass(frozen=True)
class Sampling:
    """Which points are evaluated.

    Attributes:
        exact: all subsets of the nodes, instead of walks in random orders.
        second_order: what closed second-order indices take, too.
        replicates: how many there will be.
        memory_bytes: bound on what is held at once.
        surrogate: polynomials that are fitted on the way, see `control`; for all subsets only.

    Example:
        >>> Sampling(exact=False, second_order=True, replicates=8, memory_bytes=2**30).replicates
        8
    """

    exact: bool
    second_order: bool
    replicates: int
    memory_bytes: int
    surrogate: Chaos | None = None


def evaluations_per_draw(nodes: int, sampling: Sampling, *, has_arrows: bool) -> int:
    """Evaluations of the response that one draw (U, V) takes.

    Example:
        >>> walks = Sampling(exact=False, second_order=False, replicates=8, memory_bytes=2**30)
        >>> evaluations_per_draw(10, walks, has_arrows=False)
        20
    """
    if sampling.exact:
        return 1 << nodes
    return 2 * nodes * (1 + has_arrows) + (2 * nodes + 2) * sampling.second_order


class Sampler:
    """Sums over draws; equal arguments give equal sums.

    Arguments:
        response: what is evaluated.
        sampling: where.
        generators: of random numbers.

    Example:
        >>> from xattr_cli.numerics.sensitivity.pick_freeze import Response
        >>> both = torch.arange(2)
        >>> def outputs(noise):
        ...     return noise @ noise.new_tensor([[1.0], [2.0]])
        >>> response = Response(((), ()), both, both, lambda u: u, outputs, targets=1, row_bytes=16, epsilon=1e-16)
        >>> every = Sampling(exact=True, second_order=False, replicates=4, memory_bytes=2**20)
        >>> sampler = Sampler(response, every, lambda stream: np.random.default_rng([0, stream]))
        >>> sums = sampler.sums(replicate=0, first=0, stop=256)
        >>> (sums["variance"] / 256).round(decimals=2).tolist()  # (1² + 2²) / 12
        [0.42]
    """

    def __init__(self, response: Response, sampling: Sampling, generators: Generators) -> None:
        self.response, self.sampling, self.generators = response, sampling, generators
        self.has_arrows = any(response.parents)

    def draws(self, replicate: int, first: int, stop: int) -> tuple[Tensor, Tensor]:
        """U and V number `first` to `stop − 1` of a replicate, uniform."""
        seed = int(self.generators(replicate).integers(2**62))
        return paired_draws(self.response.dims, seed, first, stop - first)

    def sums(self, replicate: int, first: int, stop: int) -> Sums:
        """Of draws number `first` to `stop − 1` of a replicate; both are 0 or powers of two.

        Returns:
            (nodes, targets) per name of `PARTS`, or (nodes, nodes, targets) for "second_order"; (targets,) for
            the variances and for "mean"; with a surrogate, what its fit needs.
        """
        asked = _Draws(self, replicate, first, stop)
        if self.sampling.exact:
            return self._factorial(asked)
        random = self.generators(_ORDERS * stop.bit_length() + replicate)
        sums = self._walk(asked, random)
        if self.has_arrows:
            sums |= self._topological_walk(asked, random)
        else:
            sums |= {"topological": sums["shapley"], "topological_variance": sums["variance"]}
        if self.sampling.second_order:
            pairs = PairDesign(self.response.nodes)
            sums |= self._total(pairs, asked, lambda _, outputs: pairs.pairs(outputs))
        return sums

    def _total(self, design: PickFreezeDesign, asked: _Draws, tally: Callable[[slice, Tensor], Sums]) -> Sums:
        """What `tally` makes of the outputs of a design, some draws at a time, added up."""
        total: Sums = {}
        memory = self.sampling.memory_bytes
        for draws, outputs in evaluate_subsets(self.response, design, asked.uniform, len(asked), memory):
            for name, values in tally(draws, outputs).items():
                total[name] = total[name] + values if name in total else values
        return total

    # --- all subsets ---

    def _factorial(self, asked: _Draws) -> Sums:
        design = FullFactorial(self.response.nodes)
        chaos = self.sampling.surrogate

        def tally(draws: slice, outputs: Tensor) -> Sums:
            sums = {"energies": design.energies(outputs), "mean": _mean(outputs)}
            if chaos is not None:
                ends = outputs[:, 0], outputs[:, -1]
                sums |= fit_sums(chaos, list(zip(asked.uniform(draws), ends, strict=True)))
            return sums

        total = self._total(design, asked, tally)
        return total | self.parts(worths(total.pop("energies")))

    def parts(self, worth: Tensor) -> Sums:
        """What `PARTS` names, and the variances, from a worth (2^nodes, targets) known for every subset."""
        shapley = shapley_values(worth)
        parts = {"shapley": shapley, "first_order": single_worths(worth), "total": last_gains(worth)}
        parts["topological"] = topological_values(worth, self._down_sets) if self.has_arrows else shapley
        if self.sampling.second_order:
            parts["second_order"] = closed_pairs(worth)
        return parts | dict.fromkeys((PARTS[name] for name in parts), worth[-1])

    @cached_property
    def _down_sets(self) -> DownSets:
        return DownSets.of(self.response.parents)

    # --- walks ---

    def _walk(self, asked: _Draws, random: np.random.Generator) -> Sums:
        nodes = np.tile(np.arange(self.response.nodes), (len(asked), 1))
        walk = RoundWalk(torch.from_numpy(random.permuted(nodes, axis=1)))

        def tally(draws: slice, outputs: Tensor) -> Sums:
            return {**walk.shapley(draws, outputs), "mean": _mean(outputs)}

        return self._total(walk, asked, tally)

    def _topological_walk(self, asked: _Draws, random: np.random.Generator) -> Sums:
        positions = self._orders.positions(asked.replicate, len(asked), random)
        walk = RoundWalk(last_node_first(torch.from_numpy(positions)))
        return self._total(walk, asked, walk.topological)

    @cached_property
    def _orders(self) -> TopologicalOrders:
        random = self.generators(_ORDERS - 1)
        return TopologicalOrders(self.response.parents, self.sampling.replicates, random)


@dataclass(frozen=True)
class _Draws:
    """Draws number `first` to `stop − 1` of a replicate."""

    sampler: Sampler
    replicate: int
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first

    def uniform(self, part: slice) -> tuple[Tensor, Tensor]:
        """U and V of some of them."""
        return self.sampler.draws(self.replicate, self.first + part.start, self.first + part.stop)


def _mean(outputs: Tensor) -> Tensor:
    """(targets,) sum over draws of the mean over their points."""
    return outputs.mean(dim=1).sum(dim=0)
