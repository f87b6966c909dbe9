"""What is remembered of the nodes of a path: enough to tell how far the trapezoid rule can be off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .sketch import CountSketch

__all__ = ["SKETCH_SIZE", "NodeErrors", "NodeRecord"]

SKETCH_SIZE = 128
BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class NodeErrors:
    """What the nodes tell about the trapezoid rule through them; lengths are of maps, in float64.

    Attributes:
        squares: (open, cells), expected square of the error that jumps in each cell cause.
        cell: (open, cells), position u at which each cell begins; infinite where a row has no more cells.
        curvature: (open,), length of the error that the curvature of the integrand causes.
        sum_spread: (open,), standard deviation that jumps give to the sum over the map's features.
        sum: (open,), the sum over the map's features.
        width: (open, cells), of each cell in u; 0 where a row has no more cells.
        roughness: (open,), squared second differences of all nodes over those of every other node: about 1/16 of
            a smooth integrand, and near 1 where it jumps.

    Example:
        >>> cells, row = torch.tensor([[4.0, 1.0], [0.0, 1.0]]), torch.zeros(2)
        >>> NodeErrors(cells, cells, row, row, row, cells, row).of(torch.tensor([1])).squares.tolist()
        [[0.0, 1.0]]
    """

    squares: Tensor
    cell: Tensor
    curvature: Tensor
    sum_spread: Tensor
    sum: Tensor
    width: Tensor
    roughness: Tensor

    def of(self, rows: Tensor) -> NodeErrors:
        """Of some of the open rows."""
        return NodeErrors(**{name: numbers[rows] for name, numbers in vars(self).items()})


class NodeRecord:
    """Sketches of the integrand G(u) = Δ ⊙ φ'(u) ∇f at every node of the open rows, in the order of u.

    Arguments:
        delta: (rows, D), Δ.
        size: numbers of a sketch.

    Example:
        >>> record = NodeRecord(delta=torch.ones(1, 2))
        >>> nodes = torch.tensor([[0.0, 0.5, 1.0]], dtype=torch.float64)
        >>> first = record.expect(nodes)
        >>> row, integrand = torch.zeros(3, dtype=torch.int64), torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
        >>> record.add(row, first + torch.arange(3), integrand)
        >>> record.errors().sum.tolist(), record.errors().squares.tolist()  # linear: the rule is exact
        ([2.0], [[0.0, 0.0]])
    """

    def __init__(self, delta: Tensor, size: int = SKETCH_SIZE) -> None:
        self._sketch = CountSketch(delta.shape[1], size, device=delta.device, dtype=delta.dtype)
        self._u = torch.empty(len(delta), 0, dtype=torch.float64, device=delta.device)
        self._sums = self._u.clone()
        self._sketches = delta.new_empty(len(delta), 0, self._sketch.size)

    def expect(self, u: Tensor) -> int:
        """Make room for the nodes u (open, k), infinite where a row has fewer; the first new column."""
        first = self._u.shape[1]
        self._u = torch.cat([self._u, u], dim=1)
        self._sums = torch.nn.functional.pad(self._sums, (0, u.shape[1]))
        self._sketches = torch.nn.functional.pad(self._sketches, (0, 0, 0, u.shape[1]))
        return first

    def add(self, slot: Tensor, column: Tensor, integrand: Tensor) -> None:
        """Take note of G (k, D) at the nodes that `expect` has made room for."""
        self._sketches[slot, column] = self._sketch(integrand)
        self._sums[slot, column] = integrand.sum(dim=1, dtype=torch.float64)

    def sort(self) -> None:
        """Bring the nodes into the order of u; room that no row needs is given up."""
        self._u, order = self._u.sort(dim=1, stable=True)
        self._sums = self._sums.gather(1, order)
        self._sketches = self._sketches.gather(1, order[:, :, None].expand_as(self._sketches))
        self._trim()

    def keep(self, open_rows: Tensor) -> None:
        """Forget the rows that are done."""
        self._u, self._sums, self._sketches = (
            numbers[open_rows] for numbers in (self._u, self._sums, self._sketches)
        )
        self._trim()

    def _trim(self) -> None:
        most = int(self._u.isfinite().sum(dim=1).max()) if len(self._u) else 0
        self._u, self._sums, self._sketches = self._u[:, :most], self._sums[:, :most], self._sketches[:, :most]

    def errors(self) -> NodeErrors:
        """How far the trapezoid rule through the nodes can be off.

        A jump J of the integrand at a random place of a cell of width h gives an error of mean square
        |J|² h² / 12, and second differences d = (G₋ + G₊) / 2 − G of |J|² / 4 at both ends of the cell; errors
        of many jumps add like lengths of independent vectors. Curvature gives errors that add up: the
        error is the sum of −h d / 6, in which a jump cancels.
        """
        # some rows at a time, as many copies of the sketches are made of them
        together = max(1, BLOCK_BYTES // max(1, self._sketches[:1].nbytes))
        pieces = (torch.split(numbers, together) for numbers in (self._u, self._sums, self._sketches))
        found = [_errors(*rows) for rows in zip(*pieces, strict=True)]
        if len(found) == 1:
            return found[0]
        return NodeErrors(**{name: torch.cat([vars(some)[name] for some in found]) for name in vars(found[0])})


def _errors(u: Tensor, sums: Tensor, sketches: Tensor) -> NodeErrors:
    """Of rows with nodes u (open, n) and their sums and sketches."""
    step = torch.diff(u, dim=1)
    step = torch.where(step.isfinite(), step, 0.0)  # inf - inf is NaN
    left, right = step[:, :-1], step[:, 1:]
    inner = (right > 0)[:, :, None]
    share = (right / (left + right).clamp(min=1e-300))[:, :, None]
    bent = torch.where(inner, _bent(sketches, share.to(sketches)), 0)
    bent_sums = torch.where(inner[:, :, 0], _bent(sums[:, :, None], share)[:, :, 0], 0.0)
    lengths = torch.linalg.vector_norm(bent, dim=2, dtype=torch.float64)
    weight = ((left + right) / 2).to(bent)[:, :, None]
    # no matrix product: its last bits would depend on where in memory its factors lie
    coherent = torch.linalg.vector_norm((weight * bent).sum(dim=1), dim=1, dtype=torch.float64) / 6
    half = torch.nn.functional.pad(step, (1, 0)) / 2 + torch.nn.functional.pad(step, (0, 1)) / 2
    return NodeErrors(
        squares=_of_cells(lengths.square(), step),
        cell=u[:, :-1],
        curvature=coherent,
        sum_spread=_of_cells(bent_sums.square(), step).sum(dim=1).sqrt(),
        sum=(half * sums).sum(dim=1),
        width=step,
        roughness=_roughness(u, sketches, lengths),
    )


def _roughness(u: Tensor, sketches: Tensor, lengths: Tensor) -> Tensor:
    """(open,) mean square of second differences (open, n − 2) over that between every other node."""
    step = torch.diff(u[:, ::2], dim=1)
    step = torch.where(step.isfinite(), step, 0.0)
    left, right = step[:, :-1], step[:, 1:]
    inner = right > 0
    share = (right / (left + right).clamp(min=1e-300))[:, :, None]
    bent = torch.where(inner[:, :, None], _bent(sketches[:, ::2], share.to(sketches)), 0)
    coarse = torch.linalg.vector_norm(bent, dim=2, dtype=torch.float64).square().sum(dim=1)
    coarse = coarse / inner.sum(dim=1).clamp(min=1)
    fine = lengths.square().sum(dim=1) / (lengths > 0).sum(dim=1).clamp(min=1)
    ratio: Tensor = fine / coarse.clamp(min=1e-300)
    return ratio


def _bent(values: Tensor, share: Tensor) -> Tensor:
    """(open, n − 2, s) of values (open, n, s): how far each node lies below the line through its neighbours."""
    return share * values[:, :-2] + (1 - share) * values[:, 2:] - values[:, 1:-1]


def _of_cells(squares: Tensor, step: Tensor) -> Tensor:
    """(open, cells) mean squared error of each cell, from the squared second differences of inner nodes.

    The outer ends of a path have no second difference; their cells have that of the inner end twice.
    """
    last = (step[:, 1:] > 0).sum(dim=1, keepdim=True)  # index of the last cell
    before = torch.nn.functional.pad(squares, (1, 0))
    after = torch.nn.functional.pad(squares, (0, 1))
    before[:, 0] = after[:, 0]
    after = after.scatter(1, last, before.gather(1, last))
    return step.square() / 12 * (before + after)
