"""How much the noise of each node contributes to the entropy of a discrete output, until that is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..student import NORMAL_95
from .contributions import Contributions, Step
from .linear_extensions import DownSets, TopologicalOrders, topological_values
from .pick_freeze import MOST_ROWS, Response
from .replicates import ReplicateEstimate, mean_of, share_of
from .shapley import last_gains, memberships, shapley_values, single_worths
from .sobol_sequence import paired_draws
from .sums import Generators

__all__ = ["EntropyRule", "entropy_evaluations", "estimate_entropies", "halved_entropies"]

BLOCKS = 4  # of the inner draws: their halves and quarters tell the bias
FINE, COARSE = 0, 1
_ORDERS = 2**20  # streams below scramble, those above order


@dataclass(frozen=True)
class EntropyRule:
    """How contributions to an entropy are estimated, and when it is enough.

    Attributes:
        exact: all subsets of the nodes, instead of random orders.
        replicates: independent ones, which give the standard errors.
        draws: outer ones in the first round, and inner ones for each, a power of two; they double together.
        rtol: half the widest 95 % interval, as a share of the entropy, at which to stop.
        max_evaluations: no further round is begun that would exceed it.
        memory_bytes: bound on what is held at once.

    Example:
        >>> EntropyRule(True, replicates=8, draws=16, rtol=0.01, max_evaluations=2**20, memory_bytes=2**30).draws
        16
    """

    exact: bool
    replicates: int
    draws: int
    rtol: float
    max_evaluations: int
    memory_bytes: int


def entropy_evaluations(nodes: int, draws: int, replicates: int, *, exact: bool, has_arrows: bool) -> int:
    """Evaluations of a round.

    Example:
        >>> entropy_evaluations(3, draws=16, replicates=8, exact=True, has_arrows=True)
        8192
    """
    grids = 2 ** (nodes - 1) if exact else nodes + (nodes - 1) * (1 + has_arrows)
    return replicates * draws * draws * grids


def halved_entropies(counts: Tensor, targets: Sequence[int]) -> Tensor:
    """(2, n, 1 + targets) entropies in nats, of classes that were counted in blocks, without their first bias.

    That of the class comes first, then those of whether it is each target. The entropy of m draws is too low by a
    multiple of 1/m: twice that of all draws less that of their halves is free of it. The second row is the same of
    the halves and their quarters, whose distance to the first tells what is left.

    Arguments:
        counts: (blocks, n, classes), of equally many draws in each block.
        targets: classes.

    Example:
        >>> counts = torch.tensor([[[4.0, 0.0]], [[0.0, 4.0]], [[4.0, 0.0]], [[0.0, 4.0]]])
        >>> fine, _ = halved_entropies(counts, [0])[:, 0]
        >>> fine.div(np.log(2)).round(decimals=3).tolist()
        [1.0, 1.0]
    """
    halves = counts.view(2, -1, *counts.shape[1:]).sum(dim=1)
    whole, half, quarter = (
        _entropies(part, targets).mean(dim=0) for part in (halves.sum(dim=0, keepdim=True), halves, counts)
    )
    return torch.stack([2 * whole - half, 2 * half - quarter])


def _entropies(counts: Tensor, targets: Sequence[int]) -> Tensor:
    """(..., 1 + targets) of counts (..., classes)."""
    share = counts / counts.sum(dim=-1, keepdim=True)
    of_target = share[..., list(targets)]
    each = torch.special.entr(of_target) + torch.special.entr(1 - of_target)
    return torch.cat([torch.special.entr(share).sum(dim=-1, keepdim=True), each], dim=-1)


def estimate_entropies(
    response: Response,
    rule: EntropyRule,
    generators: Generators,
    *,
    classes: int,
    targets: Sequence[int],
    step: Step = lambda name, compute: compute(),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Contributions:
    """Shapley and topological contributions to the entropy of a class, and first-order and total indices.

    With y the class, v(S) = H(y) − E[H(y | u_S)], what the noise of the nodes S tells about it. Contributions are
    the mean of v(S ∪ j) − v(S) over orders, as shares of H(y): of each target the entropy of whether y is that
    class, and under `weighted` that of y itself. H(y | u_S) is that of counts over inner draws of all other noise.

    Reference: Saha et al. 2025, arXiv 2505.09660; Janzing et al. 2024, section 3, with conditional entropy as
    uncertainty; Owen, Prieur 2017, "On Shapley value for measuring importance of dependent inputs".

    Arguments:
        response: (n, 1) number of the class.
        rule: how to estimate, and when to stop.
        generators: of random numbers.
        classes: how many there are.
        targets: those that are studied.
        step: called with the name of a step and what computes it; may give what it gave before.
        progress: told the evaluations done, and those after the present round.

    Example:
        >>> def exclusive_or(u):
        ...     return ((u[:, :1] > 0.5) != (u[:, 1:] > 0.5)).double()
        >>> both = torch.arange(2)
        >>> response = Response(((), ()), both, both, lambda u: u, exclusive_or, 1, row_bytes=16, epsilon=0)
        >>> rule = EntropyRule(True, replicates=4, draws=16, rtol=0.05, max_evaluations=2**16, memory_bytes=2**20)
        >>> streams = lambda stream: np.random.default_rng([0, stream])
        >>> found = estimate_entropies(response, rule, streams, classes=2, targets=[1])
        >>> found.shares["shapley"].value.round(decimals=2).tolist()
        [[0.5], [0.5]]
        >>> found.shares["first_order"].value.abs().round(decimals=2).tolist()
        [[0.0], [0.0]]
    """
    sampler = _Sampler(response, rule, generators, classes, tuple(targets))
    draws = rule.draws
    while True:
        cost, replicates = sampler.cost(draws), []
        for replicate in range(rule.replicates):
            progress(cost * replicate // rule.replicates, cost)
            replicates.append(step(f"grids-{draws}-{replicate}", sampler.work(replicate, draws)))
        result = _summarise(replicates, draws, cost, rule)
        if result.converged or cost + sampler.cost(2 * draws) > rule.max_evaluations:
            progress(cost, cost)
            return result
        draws *= 2


@dataclass(frozen=True)
class _Sampler:
    response: Response
    rule: EntropyRule
    generators: Generators
    classes: int
    targets: tuple[int, ...]

    @property
    def has_arrows(self) -> bool:
        return any(self.response.parents)

    def cost(self, draws: int) -> int:
        return entropy_evaluations(
            self.response.nodes, draws, self.rule.replicates, exact=self.rule.exact, has_arrows=self.has_arrows
        )

    def work(self, replicate: int, draws: int) -> Callable[[], Mapping[str, np.ndarray]]:
        """Gains per name of the shares, (2, nodes, 1 + targets), and "whole" (2, 1 + targets), of a replicate."""
        return lambda: {name: values.numpy() for name, values in self._parts(replicate, draws).items()}

    def _parts(self, replicate: int, draws: int) -> dict[str, Tensor]:
        seed = int(self.generators(replicate).integers(2**62))
        u, v = map(self.response.prepare, paired_draws(self.response.dims, seed, 0, draws))
        grids = _Grids(self, u, v)
        return self._of_subsets(grids) if self.rule.exact else self._of_orders(grids, replicate, draws)

    def _of_subsets(self, grids: _Grids) -> dict[str, Tensor]:
        nodes = self.response.nodes
        conditional = torch.zeros(2, 2**nodes, 1 + len(self.targets), dtype=torch.float64)
        for number, members in enumerate(memberships(nodes)[: 2 ** (nodes - 1)]):
            # the points of a subset, seen the other way round, are those of its complement
            inside, outside = grids.both_ways(members)
            conditional[:, number], conditional[:, 2**nodes - 1 - number] = inside, outside
        whole = grids.pooled()
        conditional[:, 0], conditional[:, -1] = whole, 0.0
        worth = (whole[:, None] - conditional).movedim(0, 1)
        parts = {
            "shapley": shapley_values(worth),
            "first_order": single_worths(worth),
            "total": last_gains(worth),
        }
        down_sets = DownSets.of(self.response.parents) if self.has_arrows else None
        parts["topological"] = parts["shapley"] if down_sets is None else topological_values(worth, down_sets)
        return {**{name: part.movedim(0, 1) for name, part in parts.items()}, "whole": whole}

    def _of_orders(self, grids: _Grids, replicate: int, draws: int) -> dict[str, Tensor]:
        nodes, random = self.response.nodes, self.generators(_ORDERS * draws.bit_length() + replicate)
        singles = [grids.both_ways(torch.arange(nodes) == node) for node in range(nodes)]
        some = random.permuted(np.tile(np.arange(nodes), (draws, 1)), axis=1).argsort(axis=1)
        walks = {"shapley": grids.along(torch.from_numpy(some))}
        if self.has_arrows:
            orders = TopologicalOrders(self.response.parents, self.rule.replicates, self.generators(_ORDERS))
            walks["topological"] = grids.along(torch.from_numpy(orders.positions(replicate, draws, random)))
        whole = grids.pooled()
        parts = {name: walk.gains(whole) for name, walk in walks.items()}
        parts.setdefault("topological", parts["shapley"])
        parts["first_order"] = torch.stack([whole - inside for inside, _ in singles], dim=1)
        parts["total"] = torch.stack([outside for _, outside in singles], dim=1)
        return {**parts, "whole": whole}


@dataclass(frozen=True)
class _Walk:
    """Conditional entropies along an order of the nodes for each outer draw.

    Attributes:
        positions: (draws, nodes) place of every node in the order.
        conditional: (2, draws, nodes - 1, 1 + targets) after each node but the last.
    """

    positions: Tensor
    conditional: Tensor

    def gains(self, whole: Tensor) -> Tensor:
        """(2, nodes, 1 + targets) mean fall of the entropy by each node; all falls sum to the whole."""
        draws = len(self.positions)
        first = whole[:, None, None].expand(-1, draws, 1, -1)
        falls = -torch.cat([first, self.conditional, torch.zeros_like(first)], dim=2).diff(dim=2)
        place = self.positions[None, :, :, None].expand(2, -1, -1, falls.shape[-1])
        return falls.gather(2, place).mean(dim=1)


class _Grids:
    """Classes at all pairs of outer draws U and inner draws V, each (draws, width)."""

    def __init__(self, sampler: _Sampler, u: Tensor, v: Tensor) -> None:
        self.sampler, self.u, self.v = sampler, u, v
        self._counts = torch.zeros(sampler.classes, dtype=torch.float64)

    def pooled(self) -> Tensor:
        """(2, 1 + targets) entropies of the classes of all points that were evaluated."""
        return _entropies(self._counts, self.sampler.targets).expand(2, -1)

    def both_ways(self, members: Tensor) -> tuple[Tensor, Tensor]:
        """(2, 1 + targets) each, E[H(y | u_S)] of the nodes S that are `members` (nodes,), and of all others."""
        classes = torch.cat(list(self._classes(members.expand(len(self.u), -1))))
        return self._of(classes).mean(dim=1), self._of(classes.T).mean(dim=1)

    def along(self, positions: Tensor) -> _Walk:
        """H(y | u_S) for S the first nodes, one to all but one, in an order for each outer draw."""
        steps = [
            torch.cat([self._of(some) for some in self._classes(positions <= place)], dim=1)
            for place in range(positions.shape[1] - 1)
        ]
        none = torch.zeros(2, len(positions), 0, 1 + len(self.sampler.targets), dtype=torch.float64)
        return _Walk(positions, torch.stack(steps, dim=2) if steps else none)

    def _of(self, classes: Tensor) -> Tensor:
        """(2, n, 1 + targets) entropies of classes (n, draws)."""
        blocks = classes.reshape(len(classes), BLOCKS, -1).movedim(1, 0)
        counts = torch.zeros(*blocks.shape[:2], self.sampler.classes, dtype=torch.float64)
        counts.scatter_add_(2, blocks, torch.ones((), dtype=torch.float64).expand(blocks.shape))
        return halved_entropies(counts, self.sampler.targets)

    def _classes(self, members: Tensor) -> Iterator[Tensor]:
        """(k, draws) int64, some outer draws after the other, where nodes (draws, nodes) take U, all others V."""
        response, draws = self.sampler.response, len(self.v)
        row_bytes = 16 * len(response.owner) + response.row_bytes
        rows = max(1, min(MOST_ROWS, self.sampler.rule.memory_bytes // row_bytes) // draws)
        for start in range(0, draws, rows):
            takes_u = members[start : start + rows, None, response.owner].to(self.u.device)
            points = torch.where(takes_u, self.u[start : start + rows, None], self.v[None])
            classes = response.outputs(points.flatten(0, 1)).to("cpu", torch.int64).view(-1, draws)
            self._counts += torch.bincount(classes.flatten(), minlength=self.sampler.classes)
            yield classes


def _summarise(
    replicates: Sequence[Mapping[str, np.ndarray]], draws: int, cost: int, rule: EntropyRule
) -> Contributions:
    parts = {name: torch.from_numpy(np.stack([one[name] for one in replicates])) for name in replicates[0]}
    whole = parts.pop("whole")[:, FINE]
    whole = whole * (whole.mean(dim=0) > 0)
    estimates = {name: _estimate(values, whole) for name, values in parts.items()}
    widths = torch.stack([one.standard_error.amax(dim=0) for one in estimates.values()]).amax(dim=0) * NORMAL_95
    known = widths[~widths.isnan()]
    return Contributions(
        shares={n: ReplicateEstimate(e.value[:, 1:], e.standard_error[:, 1:]) for n, e in estimates.items()},
        weighted={n: ReplicateEstimate(e.value[:, 0], e.standard_error[:, 0]) for n, e in estimates.items()},
        variance=mean_of(whole[:, 1:]),
        mean=whole[:, :1].mean(dim=0).expand(whole.shape[1] - 1),
        half_width=widths[1:],
        draws=draws * len(replicates),
        evaluations=cost,
        converged=bool((known <= rule.rtol).all()),
    )


def _estimate(parts: Tensor, whole: Tensor) -> ReplicateEstimate:
    """Shares from gains (replicates, 2, nodes, 1 + targets), their errors with what is left of the bias."""
    fine, coarse = share_of(parts[:, FINE], whole), share_of(parts[:, COARSE], whole)
    return ReplicateEstimate(fine.value, torch.hypot(fine.standard_error, fine.value - coarse.value))
