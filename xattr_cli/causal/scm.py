"""Checks of a structural causal model from outside: triangular along the graph, and invertible in the noise."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import JobError
from ..importing import import_callable, importable_from
from .graph.graph import Graph, among, listed
from .model import GraphModel

__all__ = ["ExplicitModel", "check_scm", "discover_graph", "import_scm"]

PROBES = 64
GRID = 33
REACH = 2.5
"""Noise values tried lie in ±2.5, where a sigmoid of ten times the noise is still resolved in float64."""


def check_scm(model: ExplicitModel, discrete: bool | tuple[str, ...], seed: int) -> None:
    """Refuse a model that is no structural causal model of its graph.

    The noise of a node must move that node and its descendants only, and each value of the node, given
    its parents, must come from one value of its noise: strictly monotone for a node of one column. A
    discrete node, or one of several columns, may be a step function: each of its values comes from one
    interval of noise.

    Arguments:
        model: to be checked.
        discrete: nodes that may be step functions, or all of them.
        seed: of the noise that is tried.

    Raises:
        JobError: names the node and what it does.
    """
    allowed = _discrete_nodes(model.graph, discrete)
    base = _base(model, seed)
    _check_repeatable(model, base)
    for node, response in _responses(model, base):
        _check_triangular(model, node, _moved(model, base, response))
        may_step = node in allowed or len(model.columns[node]) > 1
        _check_invertible(model, node, response[:, :, list(model.columns[node])], may_step=may_step)


def discover_graph(model: ExplicitModel, seed: int) -> Graph:
    """The arrows that the model itself shows: from every node to all that its noise moves.

    These are the ancestors rather than the parents of a node, which is all that topological orders need.

    Raises:
        JobError: two nodes move each other, so that there is no order.
    """
    base = _base(model, seed)
    moved = [_moved(model, base, response) for _, response in _responses(model, base)]
    nodes = range(len(model.nodes))
    parents = tuple(tuple(j for j in nodes if j != node and moved[j][node]) for node in nodes)
    try:
        return Graph(model.nodes, parents, model.columns)
    except JobError as error:
        raise JobError(f"scm: {model.name} is not triangular in any order of its inputs. {error}") from error


# --- probing ------------------------------------------------------------------------------------


def _base(model: ExplicitModel, seed: int) -> Tensor:
    """(PROBES, nodes) noise values from which one at a time is moved."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(PROBES, len(model.nodes), generator=generator, dtype=torch.float64)
    return noise.clamp(-REACH, REACH)


def _responses(model: ExplicitModel, base: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Per node, the inputs (PROBES, GRID, D) while its noise alone runs over a grid."""
    grid = torch.linspace(-REACH, REACH, GRID, dtype=torch.float64)
    for node in range(len(model.nodes)):
        noise = base[:, None, :].repeat(1, GRID, 1)
        noise[:, :, node] = grid
        yield node, model.inputs(noise.flatten(0, 1)).reshape(PROBES, GRID, -1)


def _moved(model: ExplicitModel, base: Tensor, response: Tensor) -> list[bool]:
    """Per node, whether it moves anywhere in a response (PROBES, GRID, D)."""
    start = model.inputs(base)[:, None, :]
    # a sum that is added up in another order for another batch may differ in the last bits
    moved = ((response - start).abs() > 1e-9 * (1 + start.abs())).any(dim=1).any(dim=0)
    return [bool(moved[list(held)].any()) for held in model.columns]


def _check_repeatable(model: ExplicitModel, base: Tensor) -> None:
    if not torch.equal(model.inputs(base), model.inputs(base)):
        raise JobError(
            f"scm: {model.name} returns two results for the same noise. It must draw no random numbers itself: "
            "all noise is in its argument."
        )


def _check_triangular(model: ExplicitModel, node: int, moved: list[bool]) -> None:
    strangers = [
        model.nodes[other]
        for other in range(len(model.nodes))
        if moved[other] and other != node and other not in model.graph.descendants[node]
    ]
    if strangers:
        raise JobError(
            f"scm: {model.name} is not triangular along the graph: the noise of {model.nodes[node]!r} moves "
            f"{listed(strangers)}, no descendant of it. Edges of the graph: {model.graph.arrows()}. The noise "
            f"coordinates stand in the order of the nodes: {listed(model.nodes)}."
        )


# --- invertibility ------------------------------------------------------------------------------


def _check_invertible(model: ExplicitModel, node: int, values: Tensor, *, may_step: bool) -> None:
    """Look at the values (PROBES, GRID, columns) of a node along its own noise."""
    lines = _Lines.of(values)
    name = model.nodes[node]
    what = f"scm: {model.name} is not invertible in the noise of {name!r}"
    if not lines.ordered:
        raise JobError(
            f"{what}: with all other noise fixed, {name!r} takes one value at noise values that lie apart. "
            "It must be strictly monotone in its own noise, such as a + b·u with b ≠ 0."
        )
    if lines.strict or may_step:
        return
    fault = f"{name!r} stays the same while its noise changes"
    if lines.constant:
        fault = f"its noise does not move {name!r} at all"
    raise JobError(
        f"{what}: {fault}. It must be strictly monotone in its own noise. If {name!r} is a discrete variable, "
        f"a step function of its noise, say `discrete: [{name}]`."
    )


@dataclass(frozen=True)
class _Lines:
    """How a node runs along its own noise, whatever the other noise is.

    Attributes:
        ordered: every value comes from one interval of noise.
        strict: every value comes from one noise value.
        constant: there is only one value.
    """

    ordered: bool
    strict: bool
    constant: bool

    @classmethod
    def of(cls, values: Tensor) -> _Lines:
        """From values (lines, points, columns)."""
        steps = (values[:, 1:] != values[:, :-1]).any(dim=2)
        if values.shape[2] == 1:
            changes = values.diff(dim=1)[..., 0]
            ordered = not bool(((changes > 0).any(dim=1) & (changes < 0).any(dim=1)).any())
        else:
            runs = steps.sum(dim=1) + 1
            ordered = all(len(line.unique(dim=0)) == int(run) for line, run in zip(values, runs, strict=True))
        return cls(ordered, ordered and bool(steps.all()), not bool(steps.any()))


def _discrete_nodes(graph: Graph, discrete: bool | tuple[str, ...]) -> set[int]:
    if isinstance(discrete, bool):
        return set(range(len(graph))) if discrete else set()
    for name in discrete:
        if name not in graph.nodes:
            raise JobError(f"discrete: {name!r} is no node of the graph.{among(name, graph.nodes)}")
    return {graph.nodes.index(name) for name in discrete}


@dataclass(frozen=True)
class ExplicitModel(GraphModel):
    """A structural causal model given as a callable; one noise coordinate per node.

    Attributes:
        graph: over the inputs.
        function: standard normal noise (n, nodes), a float64 tensor on the CPU → inputs (n, D), a tensor or
            an array. It draws nothing itself.
        name: what errors call it.
    """

    function: Callable[[Tensor], Any]
    name: str

    @property
    def width(self) -> int:
        """D, the columns of a row."""
        return sum(map(len, self.columns))

    def inputs(self, noise: Tensor) -> Tensor:
        """(n, D) inputs from (n, nodes) noise.

        Raises:
            JobError: the callable fails, or returns what is no finite array of that shape.
        """
        with torch.no_grad(), contextlib.redirect_stdout(sys.stderr):
            try:
                returned = self.function(noise.detach().cpu().double().clone())
                values = torch.as_tensor(np.asarray(returned) if not isinstance(returned, Tensor) else returned)
            except (Exception, SystemExit) as error:
                raise JobError(
                    f"scm: {self.name} failed on noise of shape {tuple(noise.shape)}, a float64 tensor: "
                    f"{type(error).__name__}: {error}."
                ) from error
        self._check(values, len(noise))
        return values.to(dtype=noise.dtype).to(noise.device)

    def _check(self, values: Tensor, rows: int) -> None:
        wanted = (rows, self.width)
        if tuple(values.shape) != wanted:
            raise JobError(
                f"scm: {self.name} returned shape {tuple(values.shape)} for noise of shape "
                f"{(rows, len(self.nodes))}, but must return {wanted}: a column for each of the inputs."
            )
        if not torch.isfinite(values).all():
            column = int((~torch.isfinite(values)).any(dim=0).nonzero()[0, 0])
            raise JobError(
                f"scm: {self.name} returned NaN or infinity in column {column}. It must be finite for all noise."
            )


def import_scm(reference: str, graph: Graph, folder: Path) -> ExplicitModel:
    """The model that a job names as `module:callable`; not checked yet, see `scm_checks`.

    Raises:
        JobError: it cannot be imported.
    """
    with contextlib.redirect_stdout(sys.stderr):
        function = import_callable(reference, folder, "scm")

    def call(noise: Tensor) -> Any:
        with importable_from(folder):
            return function(noise)

    return ExplicitModel(graph, call, reference)
