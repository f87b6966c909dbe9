"""Down-sets of a causal graph, sets of nodes that hold all causes of their members, and the orders through them.

A topological order adds one node after the other to the empty set, and passes down-sets only; so all orders are
the paths of a small lattice, and can be counted, averaged over and drawn from without listing them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

__all__ = ["DownSets", "topological_values"]


@dataclass(frozen=True)
class DownSets:
    """All down-sets of a graph, by growing size; see the module's text.

    Attributes:
        sets: bit j of a set says whether node j belongs to it; the first is empty, the last is full.
        steps: (steps, 3) int64: from which set, by which node, to which set.
    """

    sets: tuple[int, ...]
    steps: np.ndarray

    @classmethod
    def of(cls, parents: Sequence[Sequence[int]]) -> DownSets:
        """The down-sets of a graph given as parents per node."""
        found = cls.few(parents, 2 ** len(parents))
        if found is None:
            raise ValueError("the parents form a cycle")
        return found

    @classmethod
    def few(cls, parents: Sequence[Sequence[int]], most: int) -> DownSets | None:
        """The same; None if there are more than `most`."""
        causes = [sum(1 << cause for cause in held) for held in parents]
        numbers = {0: 0}
        steps: list[tuple[int, int, int]] = []
        level = [0]
        while level:
            following: dict[int, None] = {}
            for held in level:
                for node, needed in enumerate(causes):
                    if not held >> node & 1 and needed & held == needed:
                        grown = held | 1 << node
                        following.setdefault(grown)
                        steps.append((numbers[held], node, numbers.setdefault(grown, len(numbers))))
            if len(numbers) > most:
                return None
            level = list(following)
        return cls(tuple(numbers), np.array(steps, dtype=np.int64).reshape(-1, 3))

    @cached_property
    def orders_before(self) -> tuple[int, ...]:
        """Per set, in how many orders its members can come together."""
        counts = [1] + [0] * (len(self.sets) - 1)
        for source, _, target in self.steps.tolist():
            counts[target] += counts[source]
        return tuple(counts)

    @cached_property
    def orders_after(self) -> tuple[int, ...]:
        """Per set, in how many orders the other nodes can follow."""
        counts = [0] * (len(self.sets) - 1) + [1]
        for source, _, target in reversed(self.steps.tolist()):
            counts[source] += counts[target]
        return tuple(counts)

    @property
    def orders(self) -> int:
        """Number of topological orders."""
        return self.orders_before[-1]

    def chances(self) -> np.ndarray:
        """(steps,) probability that an order, all being equally likely, goes on by this step once it is there."""
        after = self.orders_after
        return np.array([after[target] / after[source] for source, _, target in self.steps.tolist()])

    def shares(self) -> np.ndarray:
        """(steps,) share of all orders that take this step."""
        before, after = self.orders_before, self.orders_after
        return np.array([before[s] * after[t] / self.orders for s, _, t in self.steps.tolist()])


def topological_values(worth: Tensor, down_sets: DownSets) -> Tensor:
    """(d, ...) mean gain by each node over all topological orders, each to the nodes before it.

    Reference: Janzing et al. 2024, "Quantifying intrinsic causal contributions via structure preserving
    interventions"; Saha et al. 2025, arXiv 2505.09660.

    Arguments:
        worth: (2^d, ...), by the number of the subset; see `subsets`.
        down_sets: of the graph.
    """
    sets = torch.tensor(down_sets.sets)
    steps, shares = torch.from_numpy(down_sets.steps), torch.from_numpy(down_sets.shares())
    found = []
    for node in range(len(worth).bit_length() - 1):
        source, target = sets[steps[steps[:, 1] == node][:, [0, 2]]].unbind(dim=1)
        weights = shares[steps[:, 1] == node].to(worth)
        found.append(torch.tensordot(weights, worth[target] - worth[source], dims=1))
    return torch.stack(found)
