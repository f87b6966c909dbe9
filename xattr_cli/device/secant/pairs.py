"""Which positions of a batch are neighbours on a path: tensors seen as the left and the right ends of cells."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .bends import Bends

__all__ = ["Pairing", "Pairs"]

TILE = 2**20
"""Numbers that are worked on together on a CPU, so that what lies between input and result stays in its cache.

A slope takes five to ten operations. A cell of efficientnet-lite0, in gradients, on two threads: 1.45 to 1.8 in
tiles of 2¹⁷, which torch does not share among them, 1.2 to 1.6 of 2²⁰, 1.6 all at once; on one: 1.33, 1.40, 1.56.
"""


@dataclass(frozen=True)
class Pairs:
    """How the nodes of a path lie in one tensor: along an axis, so many entries apart.

    Attributes:
        axis: along which the rows of the call lie.
        step: entries of the axis that belong to each row; more than one where an axis was merged into it.
        bends: of the call, told where functions bend.

    Example:
        >>> Pairs(axis=0, step=1).ends(torch.tensor([0.0, 2.0, 5.0]))
        (tensor([0., 2.]), tensor([2., 5.]))
    """

    axis: int
    step: int
    bends: Bends | None = field(default=None, repr=False, compare=False)

    @property
    def watched(self) -> bool:
        """Whether it is still asked where functions bend."""
        return self.bends is not None and not self.bends.settled

    def bend(self, bent: Tensor, functions: int = 1) -> None:
        """A function bends at some entries of the cells, (n − step, ...) bool along the axis; or several do."""
        if self.bends is not None:
            self.bends.add(self.any(bent), functions)

    def any(self, entries: Tensor) -> Tensor:
        """(cells,) bool, in which cells any of the entries (n − step, ...) bool is true."""
        others = [axis for axis in range(entries.ndim) if axis != self.axis]
        # a hundred times as fast as `any` on a CPU
        entries = entries.view(torch.uint8).amax(dim=others).bool() if others else entries
        return entries.view(-1, self.step).any(dim=1) if self.step > 1 else entries

    def cells(self, tensor: Tensor) -> Tensor:
        """(n − 1, ...) the part of a tensor that belongs to cells: all rows but the last; a view."""
        return tensor.narrow(self.axis, 0, tensor.shape[self.axis] - self.step)

    def ends(self, tensor: Tensor) -> tuple[Tensor, Tensor]:
        """Left and right ends of every cell; views."""
        return self.cells(tensor), tensor.narrow(self.axis, self.step, tensor.shape[self.axis] - self.step)

    def tiles(self, tensor: Tensor, *others: Tensor) -> Iterator[tuple[Any, ...]]:
        """Both ends of the cells in a tensor, and their part of each of the others, some numbers at a time.

        Arguments:
            tensor, others: of one shape.
        """
        apart = self.step * tensor.stride(self.axis)
        alike = all(other.stride() == tensor.stride() for other in others)
        outermost = tensor.stride(self.axis) == max(tensor.stride()) and tensor.numel() == (
            tensor.stride(self.axis) * tensor.shape[self.axis]
        )
        if tensor.device.type != "cpu" or not alike or not outermost or tensor.numel() <= TILE:
            yield self.ends(tensor), *map(self.cells, others)
            return
        flat, *rest = (t.as_strided((t.numel(),), (1,)) for t in (tensor, *others))
        for start in range(0, len(flat) - apart, TILE):
            stop = min(start + TILE, len(flat) - apart)
            ends = flat[start:stop], flat[start + apart : stop + apart]
            yield ends, *(each[start:stop] for each in rest)

    def of_cells(self, values: Tensor, like: Tensor) -> Tensor:
        """(n, ...) a tensor shaped as `like`: the values of the cells, and 0 at the last row."""
        whole = torch.empty_like(like)
        self.cells(whole).copy_(values)
        return self.without_last(whole)

    def without_last(self, tensor: Tensor) -> Tensor:
        """(n, ...) the tensor itself, its last row set to 0."""
        tensor.narrow(self.axis, tensor.shape[self.axis] - self.step, self.step).zero_()
        return tensor

    def middle(self, tensor: Tensor) -> Tensor:
        """(n, ...) the mean of both ends of every cell; the last row as it is."""
        whole = tensor.clone()
        left, right = self.ends(tensor)
        torch.lerp(left, right, 0.5, out=self.cells(whole))
        return whole


@dataclass(frozen=True)
class Pairing:
    """The rows of a call, in which every row is followed by its neighbour on the path.

    Attributes:
        rows: of the call.
    """

    rows: int
    bends: Bends = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "bends", Bends(max(self.rows - 1, 0)))

    def of(self, tensor: Tensor) -> Pairs | None:
        """How the rows lie in a tensor inside the network; None if they cannot be told.

        The first axis as a rule; another one of that length where sequences come first; and several times as
        many entries of the first one where heads or windows were merged into it.

        Example:
            >>> Pairing(8).of(torch.zeros(5, 8, 3)), Pairing(8).of(torch.zeros(16, 3))
            (Pairs(axis=1, step=1), Pairs(axis=0, step=2))
        """
        shape = tensor.shape
        if not shape or self.rows < 2:
            return None
        if self.rows in shape:
            return Pairs(shape.index(self.rows), 1, self.bends)
        return Pairs(0, shape[0] // self.rows, self.bends) if shape[0] and shape[0] % self.rows == 0 else None
