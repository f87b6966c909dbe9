"""What secant cells are worth on the rows of a job itself: a few of them, against a fine rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from .field import CellField
from .secant_error import CAUTIOUS, CellEvidence, ErrorShare, fitted_share, secant_error
from .secants import SecantRule, evidence_of, sum_cells
from .straight import PowerWarp, StraightPath

__all__ = ["Calibration", "calibrate"]

LEVELS = (3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
FINEST = 256
FINER = 4
"""Cells of the reference for each one that is judged by it."""


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
        if levels.good_enough(reference, rule.rtol) or 2 * FINER * cells >= FINEST:
            break
    return replace(levels.settled(reference, rule), evaluations=evaluations)


class _Levels:
    """Passes of several numbers of cells over the same rows."""

    def __init__(self, delta: Tensor) -> None:
        self._delta = delta
        self._cells: list[int] = []
        self._maps: list[Tensor] = []
        self._evidence: list[CellEvidence] = []

    def add(self, cells: int, mean_gradient: Tensor, evidence: CellEvidence) -> None:
        self._cells.append(cells)
        self._maps.append(mean_gradient)
        self._evidence.append(evidence)

    def share(self, reference: Tensor) -> ErrorShare:
        """From all passes so far; the cautious one where rows are not finite or do not change."""
        shares = [
            torch.linalg.vector_norm((found - reference) * self._delta, dim=1, dtype=torch.float64)
            / evidence.roughness()
            for found, evidence in zip(self._maps, self._evidence, strict=True)
        ]
        stacked = torch.stack(shares, dim=1)
        usable = torch.isfinite(stacked).all(dim=1)
        if int(usable.sum()) < 2:
            return CAUTIOUS
        return fitted_share(torch.tensor(self._cells), stacked[usable].cpu())

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
