"""What secant cells are worth on the rows of a job itself: a few of them, against a fine rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
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
from .secants import SecantRule, evidence_of, sum_cells
from .straight import PowerWarp, StraightPath

__all__ = ["Calibration", "calibrate"]

LEVELS = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
FINEST = 256
FINER = 4
"""Cells of the reference for each one that is judged by it."""
FEWEST_LEVELS = 3
MOST_STRIDE = 3
"""A pass of more than so many times the cells of another is not judged by the move from it."""


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
    """
    rows = torch.arange(len(path.input), device=path.input.device)
    warp, levels = PowerWarp(rule.warp), _Levels(path.delta)
    reference, finest, evaluations = path.delta, 0, 0
    for cells in LEVELS:
        count = torch.full_like(rows, cells)
        sums = sum_cells(field, path, rows, count, warp)
        evaluations += len(rows) * (cells + 1)
        if finest < FINER * cells:
            finest = min(2 * FINER * cells, FINEST)
            reference = sum_cells(field, path, rows, torch.full_like(rows, finest), warp).mean_gradient
            evaluations += len(rows) * (finest + 1)
        levels.add(cells, sums.mean_gradient, evidence_of(sums, path.delta, count))
        enough = len(levels) >= FEWEST_LEVELS and levels.good_enough(reference, rule.rtol)
        if enough or 2 * FINER * cells >= FINEST:
            break
    return replace(levels.settled(reference, rule), evaluations=evaluations)


class _Levels:
    """Passes of several numbers of cells over the same rows."""

    def __init__(self, delta: Tensor) -> None:
        self._delta = delta
        self._cells: list[int] = []
        self._maps: list[Tensor] = []
        self._evidence: list[CellEvidence] = []

    def __len__(self) -> int:
        return len(self._cells)

    def add(self, cells: int, mean_gradient: Tensor, evidence: CellEvidence) -> None:
        self._cells.append(cells)
        self._maps.append(mean_gradient)
        self._evidence.append(evidence)

    def share(self, reference: Tensor) -> ErrorShare:
        """From all passes so far; the cautious one where rows are not finite or do not change."""
        errors = torch.stack([self._error(number, reference) for number in range(len(self._cells))], dim=1)
        roughness = torch.stack([evidence.roughness() for evidence in self._evidence], dim=1).cpu()
        usable = torch.isfinite(errors).all(dim=1) & (roughness > 0).all(dim=1)
        if int(usable.sum()) < 2:
            return CAUTIOUS
        cells, errors = torch.tensor(self._cells), errors[usable]
        converges = power_of_cells(cells, errors, ErrorShare.converges)
        return replace(
            fitted_share(cells, errors / roughness[usable]),
            moves=share_of_movement(self._of_moves(errors, usable, converges)),
            converges=converges,
        )

    def _error(self, number: int, reference: Tensor) -> Tensor:
        """(rows,) float64, length of the error of a pass beyond rounding; where there is none, 0."""
        size = self._evidence[number].size
        rounding = 2 * rounding_of(self._delta.dtype) * size
        return (self._distance(self._maps[number], reference) - rounding).clamp(min=0).cpu()

    def _distance(self, one: Tensor, other: Tensor) -> Tensor:
        """(rows,) float64, length of the difference of two maps."""
        length: Tensor = torch.linalg.vector_norm((one - other) * self._delta, dim=1, dtype=torch.float64)
        return length

    def _of_moves(self, errors: Tensor, usable: Tensor, converges: float) -> Tensor:
        """(k,) errors over what is expected of the move from a pass to a finer one, of rows that moved."""
        shares = [torch.zeros(0, dtype=torch.float64)]
        for fine, coarse in combinations(range(len(self._cells) - 1, -1, -1), 2):
            n, m = self._cells[fine], self._cells[coarse]
            if n <= MOST_STRIDE * m:
                moved = self._distance(self._maps[fine], self._maps[coarse]).cpu()[usable]
                least = rounding_of(self._delta.dtype) * self._evidence[fine].size.cpu()[usable]
                expected = expected_after(torch.maximum(moved, least), torch.tensor(m), torch.tensor(n), converges)
                shares.append(errors[:, fine] / expected)
        return torch.cat(shares)

    def good_enough(self, reference: Tensor, rtol: float) -> bool:
        """Whether most rows would stop at the last pass."""
        error = secant_error(self._evidence[-1], self.share(reference))
        return bool((error <= rtol).double().mean() >= 0.75)

    def settled(self, reference: Tensor, rule: SecantRule) -> Calibration:
        """The share, and the first pass that would have cost least."""
        share = self.share(reference)
        costs = {}
        for cells, evidence in zip(self._cells, self._evidence, strict=True):
            error = secant_error(evidence, share)
            factor = (error / rule.rtol).nan_to_num(nan=1.0).clamp(1, 1e3) ** (1 / share.order)
            more = torch.where(error > rule.rtol, cells * factor + 1, 0.0)
            costs[cells] = cells + 1 + float(more.mean())
        cells = min(costs, key=costs.__getitem__)
        return Calibration(share, cells, costs[cells], len(self._delta))
