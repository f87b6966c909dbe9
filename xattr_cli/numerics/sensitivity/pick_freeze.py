"""Pick and freeze: a response at points that take some nodes' noise from one draw, and the others' from another.

Two points that share the noise of a set S of nodes, and nothing else, have the covariance
v(S) = Var(E[y | u_S]), which Sobol' indices and Shapley values are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["MOST_ROWS", "PickFreezeDesign", "Response", "evaluate_subsets"]

MOST_ROWS = 2**16
"""Rows prepared at once: more would leave the processor's caches, and gain nothing."""
TARGET_BYTES = 64
"""Per row and target: float64 outputs and what estimators make of them, seven arrays of that size for walks."""


@dataclass(frozen=True)
class Response:
    """An output as a function of independent noise.

    Attributes:
        parents: per node, the nodes that are its direct causes.
        noise_owner: (dims,) int64, the node that each of the uniform numbers of a draw belongs to.
        owner: (width,) int64, the node that each coordinate of the prepared noise belongs to.
        prepare: (n, dims) uniform float64 on the CPU → (n, width) noise, coordinate by coordinate or node by node.
        outputs: (n, width) → (n, targets), what is explained.
        targets: number of outputs.
        row_bytes: that `outputs` takes for each row.
        epsilon: relative rounding error of the outputs.

    Example:
        >>> both = torch.arange(2)
        >>> response = Response(((), ()), both, both, lambda u: u, lambda u: u.sum(1, keepdim=True), 1, 16, 1e-16)
        >>> response.nodes, response.dims
        (2, 2)
    """

    parents: tuple[tuple[int, ...], ...]
    noise_owner: Tensor
    owner: Tensor
    prepare: Callable[[Tensor], Tensor]
    outputs: Callable[[Tensor], Tensor]
    targets: int
    row_bytes: int
    epsilon: float

    @property
    def nodes(self) -> int:
        """d, the number of nodes."""
        return len(self.parents)

    @property
    def dims(self) -> int:
        """Uniform numbers that one draw takes."""
        return len(self.noise_owner)


class PickFreezeDesign(Protocol):
    """Which points are evaluated for every draw (U, V)."""

    @property
    def points(self) -> int:
        """Points per draw."""

    def takes_v(self, draws: slice, points: slice) -> Tensor:
        """(draws or 1, points, nodes) bool, whose noise comes from V; the others' from U."""


def evaluate_subsets(
    response: Response,
    design: PickFreezeDesign,
    draw: Callable[[slice], tuple[Tensor, Tensor]],
    count: int,
    memory_bytes: int,
) -> Iterator[tuple[slice, Tensor]]:
    """The response at all points of a design, some draws at a time.

    Arguments:
        response: what is evaluated.
        design: the points.
        draw: gives U and V, (n, dims) uniform each, of some draws.
        count: number of draws.
        memory_bytes: bound on what is held at once, as long as one draw fits.

    Yields:
        the draws, and (draws, points, targets) float64 on the CPU.

    Example:
        >>> both = torch.arange(2)
        >>> response = Response(((), ()), both, both, lambda u: u, lambda u: u.sum(1, keepdim=True), 1, 16, 1e-16)
        >>> from xattr_cli.numerics.sensitivity.factorial import FullFactorial
        >>> def draw(some):
        ...     return torch.zeros(1, 2).double(), torch.ones(1, 2).double()
        >>> [(_, outputs)] = evaluate_subsets(response, FullFactorial(2), draw, count=1, memory_bytes=2**20)
        >>> outputs.flatten().tolist()  # u, v₀, v₁ and v
        [0.0, 1.0, 1.0, 2.0]
    """
    width = len(response.owner)
    held = max(1, memory_bytes // (4 * 8 * 4 * (response.dims + width)))  # U and V, uniform and prepared
    row_bytes = 16 * width + response.row_bytes + TARGET_BYTES * response.targets
    rows = max(1, min(MOST_ROWS, memory_bytes // row_bytes))
    for start in range(0, count, held):
        block = slice(start, min(start + held, count))
        u, v = map(response.prepare, draw(block))
        step = max(1, rows // design.points)
        for first in range(block.start, block.stop, step):
            these = slice(first, min(first + step, block.stop))
            here = slice(these.start - start, these.stop - start)
            yield these, _outputs(response, design, these, u[here, None], v[here, None], rows)


def _outputs(
    response: Response, design: PickFreezeDesign, draws: slice, u: Tensor, v: Tensor, rows: int
) -> Tensor:
    """(draws, points, targets) of the points of some draws, U and V (draws, 1, width), so many rows at a time."""
    pieces = []
    for start in range(0, design.points, rows):
        takes_v = design.takes_v(draws, slice(start, min(start + rows, design.points)))
        points = torch.where(_by_coordinate(response, takes_v).to(u.device), v, u)
        outputs = response.outputs(points.flatten(0, 1))
        pieces.append(outputs.to("cpu", torch.float64).view(*points.shape[:2], -1))
    return torch.cat(pieces, dim=1)


def _by_coordinate(response: Response, by_node: Tensor) -> Tensor:
    """(..., width) from (..., nodes)."""
    if torch.equal(response.owner, torch.arange(response.nodes)):
        return by_node
    return by_node[..., response.owner]
