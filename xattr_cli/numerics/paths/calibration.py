"""What secant cells are worth on the rows of a job itself: a few of them, against a fine rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .field import CellField
from .secant_error import (
    CAUTIOUS,
    CellEvidence,
    ErrorShare,
    expected_after,
    fitted_share,
    power_of_cells,
    rounding_of,
    secant_error,
    share_of_movement,
)
from .secants import MOST_TIMES, CellSums, SecantRule, evidence_of, next_cells, sum_cells
from .straight import PowerWarp, StraightPath

__all__ = ["Calibration", "calibrate"]

LEVELS = (3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
FIRST_LEVELS = 5
"""So many are always judged: two of them have twice as many cells as others."""
FINER, FINEST = 4, 256
"""Cells of the reference for each one that is judged by it, and the most."""
LEAST_ORDER = 0.8
"""Of the error in the number of cells."""


@dataclass(frozen=True)
class Calibration:
    """What a few rows have told.

    Attributes:
        share: of the differences between neighbouring cells that is reported as the error.
        cells: of the first pass, with which the rows would have taken the fewest evaluations.
        cost: evaluations a row that this takes; 0 if nothing was measured.
        rows: how many they were; 0 if nothing was measured.
        evaluations: that it took.

    Example:
        >>> Calibration().cells
        6
    """

    share: ErrorShare = CAUTIOUS
    cells: int = 6
    cost: float = 0.0
    rows: int = 0
    evaluations: int = 0

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Calibration:
        """From what `dataclasses.asdict` has made of one."""
        return cls(**{**stored, "share": ErrorShare(**stored["share"])})


def calibrate(field: CellField, path: StraightPath, rule: SecantRule) -> Calibration:
    """Judge passes of more and more cells by a finer one, until they are as good as asked for.

    Arguments:
        field: evaluates cells.
        path: of some rows, at least two.
        rule: with the tolerance that is asked for.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(2, 2), torch.tensor([[2.0, 3.0], [1.0, 5.0]]))
        >>> found = calibrate(ProductField(), path, SecantRule(rtol=0.05, max_nodes=1024, cells=6))
        >>> found.rows, found.cells  # the gradient is linear on the path: the fewest cells are exact
        (2, 3)
    """
    rows = torch.arange(len(path.input), device=path.input.device)
    warp, levels = PowerWarp(rule.warp), _Levels(path.delta)
    reference, finest, evaluations = path.delta, 0, 0
    for number, cells in enumerate(LEVELS, 1):
        sums = sum_cells(field, path, rows, torch.full_like(rows, cells), warp)
        evaluations += len(rows) * (cells + 1)
        if finest < FINER * cells:
            finest = FINER * (LEVELS[FIRST_LEVELS - 1] if number < FIRST_LEVELS else 2 * cells)
            reference = sum_cells(field, path, rows, torch.full_like(rows, finest), warp).mean_gradient
            evaluations += len(rows) * (finest + 1)
        levels.add(sums)
        if number < FIRST_LEVELS:
            continue
        share = levels.share(reference)
        if levels.good_enough(share, rule.rtol) or 2 * FINER * cells > FINEST:
            break
    return replace(levels.settled(replace(rule, share=share)), evaluations=evaluations)


class _Levels:
    """Passes of several numbers of cells over the same rows."""

    def __init__(self, delta: Tensor) -> None:
        self._delta = delta
        self._passes: dict[int, CellSums] = {}

    def add(self, sums: CellSums) -> None:
        self._passes[int(sums.cells[0])] = sums

    def share(self, reference: Tensor) -> ErrorShare:
        """From all passes so far; the cautious one where rows are not finite or do not change."""
        evidence = [evidence_of(sums, self._delta) for sums in self._passes.values()]
        size = evidence[-1].size.cpu()
        roughness = torch.stack([each.roughness().cpu() for each in evidence], dim=1) / size[:, None]
        errors = torch.stack([self._distance(sums, reference) for sums in self._passes.values()], dim=1)
        errors = errors / size[:, None]
        usable = torch.isfinite(errors).all(dim=1) & (roughness > 0).all(dim=1)
        if int(usable.sum()) < 2:
            return CAUTIOUS
        cells, errors = torch.tensor(list(self._passes)), errors[usable]
        floor = 2 * rounding_of(self._delta.dtype)
        converges = max(power_of_cells(cells, (errors - floor).clamp(min=0), CAUTIOUS.converges), LEAST_ORDER)
        return replace(
            fitted_share(cells, errors, roughness[usable], floor),
            moves=share_of_movement(self._of_moves(errors.clamp(min=floor), usable, converges)),
            converges=converges,
        )

    def _distance(self, sums: CellSums, reference: Tensor) -> Tensor:
        """(rows,) float64, length of the difference of two maps."""
        apart = (sums.mean_gradient - reference) * self._delta
        length: Tensor = torch.linalg.vector_norm(apart, dim=1, dtype=torch.float64)
        return length.cpu()

    def _of_moves(self, errors: Tensor, usable: Tensor, converges: float) -> Tensor:
        """(k, pairs) errors over what is expected of the move from a pass to one of several times the cells."""
        shares = [errors.new_zeros(len(errors), 0)]
        for number, fine in enumerate(self._passes):
            for coarse in self._passes:
                if coarse < fine <= MOST_TIMES * coarse and fine % coarse == 0:
                    found = self._evidence(fine, coarse)
                    moved = (found.moved / found.size).cpu()[usable].clamp(min=rounding_of(found.dtype))
                    expected = expected_after(moved, torch.tensor(coarse), torch.tensor(fine), converges)
                    shares.append((errors[:, number] / expected)[:, None])
        return torch.cat(shares, dim=1)

    def _evidence(self, cells: int, before: int) -> CellEvidence:
        return evidence_of(self._passes[cells], self._delta, self._passes.get(before))

    def good_enough(self, share: ErrorShare, rtol: float) -> bool:
        """Whether most rows would stop at the last pass."""
        error = secant_error(self._evidence([*self._passes][-1], 0), share)
        return bool((error <= rtol).double().mean() >= 0.75)

    def settled(self, rule: SecantRule) -> Calibration:
        """The share, and the first pass that would have cost least."""
        every = torch.arange(len(self._delta), device=self._delta.device)
        first = torch.full_like(every, torch.nan, dtype=torch.float64)
        costs = {
            cells: self._cost(every, first, cells, 0, rule.max_nodes, rule) / len(every) for cells in self._passes
        }
        cells = min(costs, key=costs.__getitem__)
        return Calibration(rule.share, cells, costs[cells], len(every))

    def _cost(self, rows: Tensor, expected: Tensor, cells: int, before: int, left: int, rule: SecantRule) -> float:
        """Evaluations of some rows from a pass on, by its error as it is seen here, or else as it is expected."""
        error, left = expected, left - cells - 1
        if cells in self._passes:
            error = secant_error(self._evidence(cells, before), rule.share)[rows]
        wanted = next_cells(torch.full_like(rows, cells), error, torch.full_like(rows, left), rule)
        wanted = torch.where(error > rule.rtol, wanted, cells)
        spent = float(len(rows) * (cells + 1))
        for more in sorted(set(wanted.tolist()) - {cells}):
            some = wanted == more
            expected = error[some] * (cells / more) ** rule.share.converges
            spent += self._cost(rows[some], expected, more, cells, left, rule)
        return spent
