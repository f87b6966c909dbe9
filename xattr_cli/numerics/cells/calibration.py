"""What secant cells are worth on the rows of a job itself: a few of them, against a fine rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..paths.field import CellField
from ..paths.straight import PowerWarp, StraightPath
from .chains import PathCells
from .error_share import (
    CAUTIOUS,
    FEWEST,
    ErrorShare,
    fitted_moves,
    fitted_share,
    moves_per_size,
    power_of_cells,
    rounding_of,
    secant_error,
)
from .evidence import CellEvidence, evidence_after, evidence_of
from .secants import MOST_TIMES, SecantRule, times_for
from .sums import CellSums, sum_cells

__all__ = ["Calibration", "calibrate"]

LEVELS = (3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
FIRST_LEVELS = 5
"""So many are always judged: two of them have twice as many cells as others."""
FINER, FINEST = 4, 256
"""Cells of the reference for each one that is judged by it, and the most."""
LEAST_ORDER = 0.8
"""Of the error in the number of cells."""
WORTH_WATCHING = 0.1
"""Of the cells of a first pass that are exact: of fewer, nobody needs to know."""


@dataclass(frozen=True)
class Calibration:
    """What a few rows have told.

    Attributes:
        share: of the differences between neighbouring cells that is reported as the error.
        cells: of the first pass, with which the rows would have taken the fewest evaluations.
        cost: evaluations a row that this takes; 0 if nothing was measured.
        rows: how many they were; 0 if nothing was measured.
        evaluations: that it took.
        watching: whether so many cells of that pass were exact that it pays to look for them.

    Example:
        >>> Calibration().cells
        6
    """

    share: ErrorShare = CAUTIOUS
    cells: int = 6
    cost: float = 0.0
    rows: int = 0
    evaluations: int = 0
    watching: bool = True

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Calibration:
        """From what `dataclasses.asdict` has made of one."""
        share = {**stored["share"], "moves": tuple(stored["share"]["moves"])}
        return cls(**{**stored, "share": ErrorShare(**share)})


def calibrate(field: CellField, path: StraightPath, rule: SecantRule) -> Calibration:
    """Judge passes of more and more cells by a finer one, until they are as good as asked for.

    Arguments:
        field: evaluates cells.
        path: of some rows, at least two.
        rule: with the tolerance that is asked for.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(2, 3), torch.tensor([[2.0, 3.0, 1.0], [1.0, 5.0, 2.0]]))
        >>> found = calibrate(ProductField(), path, SecantRule(rtol=0.05, max_nodes=1024, cells=6))
        >>> found.rows, found.cells
        (2, 8)
    """
    levels = _Levels(field, path, PowerWarp(rule.warp))
    if levels.all_is_in_one():  # a single function bends: there is nothing to refine
        return Calibration(cells=1, cost=2.0, rows=levels.rows, evaluations=levels.evaluations)
    reference, finest = path.delta, 0
    for number, cells in enumerate(LEVELS, 1):
        if finest < FINER * cells:
            finest = FINER * (LEVELS[FIRST_LEVELS - 1] if number < FIRST_LEVELS else 2 * cells)
            reference = levels.sums(finest).mean_gradient
        levels.add(cells)
        if number < FIRST_LEVELS:
            continue
        share = levels.share(reference)
        if levels.good_enough(share, rule.rtol) or 2 * FINER * cells > FINEST:
            break
    return replace(levels.settled(replace(rule, share=share)), evaluations=levels.evaluations)


class _Levels:
    """Passes of several numbers of cells over the same rows.

    Attributes:
        rows: how many.
        evaluations: that all passes have taken.
    """

    def __init__(self, field: CellField, path: StraightPath, warp: PowerWarp) -> None:
        self._field, self._path, self._warp = field, path, warp
        self._every = torch.arange(len(path.input), device=path.input.device)
        self.rows, self.evaluations = len(self._every), 0
        self._passes: dict[int, CellSums] = {}
        self._told: dict[tuple[int, int], CellEvidence] = {}

    def sums(self, cells: int) -> CellSums:
        """A pass."""
        self.evaluations += self.rows * (cells + 1)
        even = PathCells.even(torch.full_like(self._every, cells))
        return sum_cells(self._field, self._path, self._every, even, self._warp)

    def add(self, cells: int) -> CellSums:
        """A pass that is kept, if it has enough cells to tell something."""
        sums = self.sums(cells)
        if cells >= FEWEST:
            self._passes[cells] = sums
        return sums

    def all_is_in_one(self) -> bool:
        """Whether single cells are exact, and more of them make the same maps up to rounding."""
        one = self.add(1)
        if not one.exact.all():
            return False
        apart = self._length(self.add(FEWEST).mean_gradient - one.mean_gradient)
        return bool((apart <= 2 * rounding_of(self._path.delta.dtype) * self._size(FEWEST)).all())

    def share(self, reference: Tensor) -> ErrorShare:
        """From all passes so far; the cautious one where rows are not finite or exact."""
        evidence = [self._evidence(cells, 0) for cells in self._passes]
        roughness = torch.stack([each.roughness / each.size for each in evidence], dim=1).cpu()
        errors = torch.stack([self._error(cells, reference) for cells in self._passes], dim=1).cpu()
        finite = torch.isfinite(errors).all(dim=1)
        known = (
            torch.stack([each.inexact > 0 for each in evidence], dim=1).cpu() & finite[:, None] & (roughness > 0)
        )
        if int(known.any(dim=1).sum()) < 2:
            return CAUTIOUS
        floor = 2 * rounding_of(self._path.delta.dtype)
        cells, errors = torch.tensor([*self._passes]), torch.where(known, errors, torch.nan)
        beyond = torch.where(known, (errors - floor).clamp(min=0), 0.0)[finite]
        converges = max(power_of_cells(cells, beyond, CAUTIOUS.converges), LEAST_ORDER)
        moves = fitted_moves(*self._moves(errors.clamp(min=floor), converges))
        return replace(fitted_share(cells, errors, roughness, floor), moves=moves, converges=converges)

    def _error(self, cells: int, reference: Tensor) -> Tensor:
        """(rows,) float64, distance from another map over the length of the latest one."""
        return self._length(self._passes[cells].mean_gradient - reference) / self._size([*self._passes][-1])

    def _size(self, cells: int) -> Tensor:
        return self._length(self._passes[cells].mean_gradient)

    def _length(self, mean_gradient: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(mean_gradient * self._path.delta, dim=1, dtype=torch.float64)
        return length

    def _moves(self, errors: Tensor, converges: float) -> tuple[Tensor, Tensor]:
        """Errors (rows, pairs) of passes of several times the cells of another one, and what those tell."""
        floor = rounding_of(self._path.delta.dtype)
        found, left = [errors.new_zeros(len(errors), 0)], [errors.new_zeros(2, len(errors), 0)]
        for number, fine in enumerate(self._passes):
            for coarse in self._passes:
                if coarse < fine <= MOST_TIMES * coarse and fine % coarse == 0:
                    per_size = moves_per_size(self._evidence(fine, coarse), converges).cpu().clamp(min=floor)
                    found.append(errors[:, number, None])
                    left.append(per_size[:, :, None])
        return torch.cat(found, dim=1), torch.cat(left, dim=2)

    def _evidence(self, cells: int, before: int) -> CellEvidence:
        """Of a pass, after another one of which it has several times the cells, or after none (0)."""
        if (cells, before) not in self._told:
            self._told[cells, before] = self._tell(cells, before)
        return self._told[cells, before]

    def _tell(self, cells: int, before: int) -> CellEvidence:
        sums, size = self._passes[cells], self._size(cells)
        if before == 0:
            return evidence_of(sums, size)
        coarse = self._passes[before]
        moved = self._length(sums.mean_gradient - coarse.mean_gradient)
        times = cells // before
        parent = torch.arange(len(coarse.cells.slot), device=size.device).repeat_interleave(times)
        return evidence_after(sums, size, coarse, parent, moved, self._evidence(before, 0))

    def good_enough(self, share: ErrorShare, rtol: float) -> bool:
        """Whether most rows would stop at the last pass."""
        error = secant_error(self._evidence([*self._passes][-1], 0), share)
        return bool((error <= rtol).double().mean() >= 0.75)

    def settled(self, rule: SecantRule) -> Calibration:
        """The share, and the first pass that would have cost least."""
        costs = {cells: self._cost(cells, rule) / self.rows for cells in self._passes}
        cells = min(costs, key=costs.__getitem__)
        watching = bool(self._passes[cells].exact.double().mean() >= WORTH_WATCHING)
        return Calibration(rule.share, cells, costs[cells], self.rows, watching=watching)

    def _cost(self, cells: int, rule: SecantRule) -> float:
        """Evaluations of the rows whose first pass has so many cells, as far as the passes tell."""
        sums = self._passes[cells]
        error, spent = secant_error(self._evidence(cells, 0), rule.share), float(self.rows * (cells + 1))
        left = torch.full_like(self._every, rule.max_nodes - cells - 1)
        number = torch.full_like(self._every, cells)
        inexact, nodes = sums.inexact, sums.inexact_cells.nodes(self.rows)
        while bool((open_rows := (error > rule.rtol) & (inexact > 0)).any()):
            times = times_for(error, inexact, nodes - inexact, left, rule)
            open_rows &= times > 1
            if not open_rows.any():
                break
            taken = torch.where(open_rows, inexact * times + nodes - inexact, 0)
            spent, left, after = spent + float(taken.sum()), left - taken, number * times
            expected = error * times.double() ** -rule.share.converges
            for more in sorted(set(after[open_rows].tolist())):
                some = open_rows & (after == more)
                before = number[some][0]
                known = more in self._passes and bool((number[some] == before).all())
                if known and int(before) in self._passes:
                    fine = self._passes[more]
                    expected[some] = secant_error(self._evidence(more, int(before)), rule.share)[some]
                    inexact[some], nodes[some] = (
                        fine.inexact[some],
                        fine.inexact_cells.nodes(self.rows)[some],
                    )
                else:  # cells that are exact stay so, others seldom become more
                    full = inexact[some] == number[some]
                    inexact[some] = torch.where(full, more, inexact[some])
                    nodes[some] = torch.where(full, more + 1, nodes[some])
            error = torch.where(open_rows, expected, 0.0)
            number = torch.where(open_rows, after, number)
        return spent
