"""A causal graph over the inputs: which node is a direct cause of which, and which columns each node holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import TopologicalSorter
from typing import Any

import numpy as np

from ...errors import JobError, nearest, suggestion

__all__ = ["Graph", "among", "listed"]

MOST_LISTED = 12


@dataclass(frozen=True)
class Graph:
    """A directed acyclic graph; an arrow leads from a cause, the parent, to its effect, the child.

    Nodes stand in the order of their columns in the data, whatever the order of the arrows.

    Attributes:
        nodes: their names.
        parents: per node, the positions in `nodes` of its direct causes, ascending.
        columns: per node, its columns in a flat row of the data; empty if node i is column i. A node of
            several columns is one variable, such as a one-hot coded category.

    Raises:
        JobError: a self-loop, a duplicate edge, a cycle (which is named), a name that is given twice.
    """

    nodes: tuple[str, ...]
    parents: tuple[tuple[int, ...], ...]
    columns: tuple[tuple[int, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.columns:
            object.__setattr__(self, "columns", tuple((i,) for i in range(len(self.nodes))))
        object.__setattr__(self, "parents", tuple(tuple(sorted(causes)) for causes in self.parents))
        self._check_nodes()
        self._check_edges()
        self._check_acyclic()

    # --- making one ---

    @classmethod
    def independent(cls, names: Sequence[str]) -> Graph:
        """No arrows at all: every column is a node that nothing in the data causes."""
        return cls(tuple(names), ((),) * len(names))

    @classmethod
    def from_order(cls, order: Sequence[object], names: Sequence[str]) -> Graph:
        """All arrows that an order allows: every column may be caused by all that stand before it.

        Arguments:
            order: every column once, causes first.
            names: of the columns of the data.

        Raises:
            JobError: an unknown column, one that is missing, or one that is given twice.
        """
        given = [str(name) for name in order]
        for name in given:
            if name not in names:
                raise JobError(f"order: no column is called {name!r}.{among(name, names)}")
        twice = sorted({name for name in given if given.count(name) > 1})
        if twice:
            raise JobError(f"order: {listed(twice)} is given twice.")
        missing = [name for name in names if name not in given]
        if missing:
            raise JobError(f"order: misses {_column(missing)}. Every column needs a place in the order.")
        rank = {name: position for position, name in enumerate(given)}
        before = (tuple(j for j, other in enumerate(names) if rank[other] < rank[name]) for name in names)
        return cls(tuple(names), tuple(before))

    # --- reading it ---

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """(cause, effect) of every arrow."""
        return tuple((cause, effect) for effect, causes in enumerate(self.parents) for cause in causes)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """All nodes, causes before their effects; the earlier column first where both are allowed."""
        sorter = TopologicalSorter(dict(enumerate(self.parents)))
        sorter.prepare()
        ready, order = set[int](), list[int]()
        while sorter.is_active():
            ready.update(sorter.get_ready())
            order.append(min(ready))
            ready.remove(order[-1])
            sorter.done(order[-1])
        return tuple(order)

    @cached_property
    def ancestors(self) -> tuple[frozenset[int], ...]:
        """Per node, its direct and indirect causes."""
        ancestors: dict[int, frozenset[int]] = {}
        for node in self.order:
            causes = self.parents[node]
            ancestors[node] = frozenset(causes).union(*(ancestors[cause] for cause in causes))
        return tuple(ancestors[node] for node in range(len(self)))

    @cached_property
    def descendants(self) -> tuple[frozenset[int], ...]:
        """Per node, its direct and indirect effects."""
        return tuple(
            frozenset(other for other in range(len(self)) if node in self.ancestors[other])
            for node in range(len(self))
        )

    def adjacency(self) -> np.ndarray:
        """(nodes, nodes) bool; row = child, column = parent, ones on the diagonal, as zuko has it."""
        matrix = np.eye(len(self), dtype=bool)
        for cause, effect in self.edges:
            matrix[effect, cause] = True
        return matrix

    def arrows(self) -> str:
        """The arrows in one line, such as "a → b, b → c"; for messages."""
        texts = [f"{self.nodes[cause]} → {self.nodes[effect]}" for cause, effect in self.edges]
        return listed(texts) if texts else "none"

    def plain(self) -> dict[str, Any]:
        """Plain values for a file: nodes with their columns, and edges by position."""
        return {
            "nodes": list(self.nodes),
            "columns": [list(columns) for columns in self.columns],
            "edges": [list(edge) for edge in self.edges],
        }

    # --- checks ---

    def _check_nodes(self) -> None:
        if not len(self.nodes) == len(self.parents) == len(self.columns) > 0:
            raise JobError("graph: needs at least one node, and parents and columns for each.")
        twice = sorted({name for name in self.nodes if self.nodes.count(name) > 1})
        if twice:
            raise JobError(f"graph: two nodes are called {listed(twice)}.")
        held = [column for columns in self.columns for column in columns]
        if not all(self.columns) or sorted(held) != list(range(len(held))):
            raise JobError("graph: every column must belong to exactly one node.")

    def _check_edges(self) -> None:
        for name, node, causes in zip(self.nodes, range(len(self)), self.parents, strict=True):
            if not all(0 <= cause < len(self) for cause in causes):
                raise JobError(f"graph: a parent of {name!r} is no node.")
            if node in causes:
                raise JobError(f"graph: {name!r} is its own parent. Remove the edge {name} → {name}.")
            for cause in set(causes):
                if causes.count(cause) > 1:
                    raise JobError(f"graph: the edge {self.nodes[cause]} → {name} is given twice.")

    def _check_acyclic(self) -> None:
        cycle = _cycle(self.parents)
        if cycle:
            path = " → ".join(self.nodes[node] for node in [*cycle, cycle[0]])
            raise JobError(f"graph: {path} is a cycle. A cause cannot be its own effect: turn or remove an edge.")


def _cycle(parents: Sequence[Sequence[int]]) -> list[int]:
    """Nodes of some cycle, each followed by one that it causes; empty if there is none."""
    waiting = {node: set(causes) for node, causes in enumerate(parents)}
    while waiting:
        ready = {node for node, causes in waiting.items() if not causes & waiting.keys()}
        if not ready:
            break
        for node in ready:
            del waiting[node]
    if not waiting:
        return []
    path = [min(waiting)]
    while path.count(path[-1]) == 1:
        path.append(min(waiting[path[-1]] & waiting.keys()))
    cycle = path[path.index(path[-1]) : -1][::-1]
    start = cycle.index(min(cycle))
    return cycle[start:] + cycle[:start]


def among(name: object, allowed: Sequence[str]) -> str:
    """The tail of an error about an unknown name: all names if they are few, and what was meant."""
    if len(allowed) <= MOST_LISTED:
        return suggestion(name, allowed)
    match = nearest(name, allowed)
    return f" Did you mean {match!r}?" if match else f" There are {len(allowed)}: {listed(allowed)}."


def listed(names: Iterable[str]) -> str:
    """Names with commas; many are cut short."""
    texts = list(names)
    more = len(texts) - MOST_LISTED
    return ", ".join(texts[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _column(names: Sequence[str]) -> str:
    return f"the column{'s' if len(names) > 1 else ''} {listed(names)}"
