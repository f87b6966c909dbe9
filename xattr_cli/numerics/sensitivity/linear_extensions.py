"""Random topological orders of a causal graph, every order equally likely."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

__all__ = ["DownSets", "TopologicalOrders", "topological_values"]

MOST_SETS = 2**14
CHAINS = 16


class TopologicalOrders:
    """Random topological orders of a graph, in independent groups.

    Parts of the graph that no arrow joins are drawn apart, and then shuffled together. A part with few
    down-sets is drawn from their lattice; any other by a Markov chain of swaps of neighbours, started at
    random and run until it is mixed.

    Arguments:
        parents: per node, its direct causes.
        groups: how many independent groups of orders there will be.
        random: settles where the chains of all groups are, once they are mixed.

    Example:
        >>> chain = TopologicalOrders([[], [0], [1]], 1, np.random.default_rng(0))
        >>> chain.positions(0, 1, np.random.default_rng(1)).tolist()
        [[0, 1, 2]]
    """

    def __init__(self, parents: Sequence[Sequence[int]], groups: int, random: np.random.Generator) -> None:
        self.nodes = len(parents)
        self.parts = [np.array(part) for part in _connected(parents)]
        self.sources = [_source([list(p) for p in _inside(parents, part)], groups, random) for part in self.parts]

    def positions(self, group: int, count: int, random: np.random.Generator) -> np.ndarray:
        """(count, nodes) int64, the place of every node in each of `count` orders of a group."""
        labels = np.repeat(np.arange(len(self.parts)), [len(part) for part in self.parts])
        mixed = random.permuted(np.tile(labels, (count, 1)), axis=1)
        positions = np.empty((count, self.nodes), dtype=np.int64)
        for label, (part, source) in enumerate(zip(self.parts, self.sources, strict=True)):
            places = np.nonzero(mixed == label)[1].reshape(count, len(part))
            orders = source.orders(group, count, random)
            np.put_along_axis(positions, part[orders], places, axis=1)
        return positions


class _Source(Protocol):
    def orders(self, group: int, count: int, random: np.random.Generator) -> np.ndarray:
        """(count, nodes) int64, nodes in order."""


def _source(parents: list[list[int]], groups: int, random: np.random.Generator) -> _Source:
    down_sets = DownSets.few(parents, MOST_SETS)
    return _Lattice(down_sets, len(parents)) if down_sets else _Chains.mixed(parents, groups, random)


def _connected(parents: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Sets of nodes that arrows join, in whichever direction."""
    neighbours: list[set[int]] = [set(causes) for causes in parents]
    for node, causes in enumerate(parents):
        for cause in causes:
            neighbours[cause].add(node)
    unvisited = set(range(len(parents)))
    while unvisited:
        part, ahead = set(), {min(unvisited)}
        while ahead:
            node = ahead.pop()
            part.add(node)
            ahead |= neighbours[node] - part
        unvisited -= part
        yield sorted(part)


def _inside(parents: Sequence[Sequence[int]], part: np.ndarray) -> Iterator[list[int]]:
    """The parents of a part's nodes, numbered within it."""
    number = {node: i for i, node in enumerate(part.tolist())}
    for node in part.tolist():
        yield [number[cause] for cause in parents[node]]


class _Lattice:
    """Draws from the lattice of down-sets: each step with the share of the orders that go on by it."""

    def __init__(self, down_sets: DownSets, nodes: int) -> None:
        steps, chances = down_sets.steps, down_sets.chances()
        rank_in_step = (
            np.concatenate([np.arange(n) for n in np.bincount(steps[:, 0])]) if len(steps) else steps[:, 0]
        )
        shape = (len(down_sets.sets), int(rank_in_step.max(initial=0)) + 1)
        self.nodes = nodes
        self.node, self.target = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.reached = np.ones(shape)
        by_source = np.argsort(steps[:, 0], kind="stable")
        at = steps[by_source, 0], rank_in_step
        self.node[at], self.target[at] = steps[by_source, 1], steps[by_source, 2]
        self.reached[at] = chances[by_source]
        self.reached = np.cumsum(self.reached, axis=1)

    def orders(self, group: int, count: int, random: np.random.Generator) -> np.ndarray:
        held = np.zeros(count, np.int64)
        orders = np.empty((count, self.nodes), np.int64)
        for position in range(self.nodes):
            chosen = (random.random(count)[:, None] >= self.reached[held, :-1]).sum(axis=1)
            orders[:, position] = self.node[held, chosen]
            held = self.target[held, chosen]
        return orders


@dataclass(frozen=True)
class _Chains:
    """Draws by swapping neighbours that no arrow joins (Karzanov and Khachiyan 1991).

    Attributes:
        joined: (nodes, nodes) bool, True where an arrow forbids a swap.
        states: (groups, chains, nodes) mixed orders, from which every draw of a group starts.
    """

    joined: np.ndarray
    states: np.ndarray

    @classmethod
    def mixed(cls, parents: list[list[int]], groups: int, random: np.random.Generator) -> _Chains:
        nodes = len(parents)
        joined = np.zeros((nodes, nodes), bool)
        for node, causes in enumerate(parents):
            joined[node, causes] = joined[causes, node] = True
        states = np.tile(_any_order(parents), (groups * CHAINS, 1))
        # such chains mix within (4/π²) n³ ln n single swaps (Wilson 2004); a sweep tries n/2 of them
        sweeps = math.ceil(8 / math.pi**2 * nodes**2 * math.log(nodes))
        _sweep(states, joined, sweeps, random)
        return cls(joined, states.reshape(groups, CHAINS, nodes))

    def orders(self, group: int, count: int, random: np.random.Generator) -> np.ndarray:
        state = self.states[group].copy()
        orders = []
        for _ in range(-(-count // CHAINS)):
            _sweep(state, self.joined, state.shape[1], random)
            orders.append(state.copy())
        return np.concatenate(orders)[:count]


def _sweep(states: np.ndarray, joined: np.ndarray, sweeps: int, random: np.random.Generator) -> None:
    """Toss a coin for every pair of neighbours, even places and odd places in turn, and swap where it may be."""
    nodes = states.shape[1]
    for sweep in range(sweeps):
        start = sweep % 2
        stop = start + (nodes - start) // 2 * 2
        left, right = states[:, start:stop:2], states[:, start + 1 : stop : 2]
        swap = (random.random(left.shape, dtype=np.float32) < 0.5) & ~joined[left, right]
        first = np.where(swap, right, left)
        states[:, start + 1 : stop : 2] = np.where(swap, left, right)
        states[:, start:stop:2] = first


def _any_order(parents: list[list[int]]) -> np.ndarray:
    waiting = {node: set(causes) for node, causes in enumerate(parents)}
    order: list[int] = []
    while waiting:
        ready = next(node for node, causes in waiting.items() if not causes)
        del waiting[ready]
        for causes in waiting.values():
            causes.discard(ready)
        order.append(ready)
    return np.array(order)


@dataclass(frozen=True)
class DownSets:
    """All down-sets of a graph, by growing size; see the module's text.

    Attributes:
        sets: bit j of a set says whether node j belongs to it; the first is empty, the last is full.
        steps: (steps, 3) int64: from which set, by which node, to which set.

    Example:
        >>> fork = DownSets.of([[], [0], [0]])
        >>> fork.sets, fork.orders
        ((0, 1, 3, 5, 7), 2)
    """

    sets: tuple[int, ...]
    steps: np.ndarray

    @classmethod
    def of(cls, parents: Sequence[Sequence[int]]) -> DownSets:
        """The down-sets of a graph given as parents per node."""
        down_sets = cls.few(parents, 2 ** len(parents))
        if down_sets is None:
            raise ValueError("the parents form a cycle")
        return down_sets

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

    Example:
        >>> chain = DownSets.of([[], [0]])
        >>> topological_values(torch.tensor([0.0, 1.0, 2.0, 5.0]), chain).tolist()
        [1.0, 4.0]
    """
    sets = torch.tensor(down_sets.sets)
    steps, shares = torch.from_numpy(down_sets.steps), torch.from_numpy(down_sets.shares())
    values = []
    for node in range(len(worth).bit_length() - 1):
        source, target = sets[steps[steps[:, 1] == node][:, [0, 2]]].unbind(dim=1)
        weights = shares[steps[:, 1] == node].to(worth)
        values.append(torch.tensordot(weights, worth[target] - worth[source], dims=1))
    return torch.stack(values)
