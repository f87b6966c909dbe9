"""Both rules of integration, tried on some rows of a job."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...device import Rows
from ...device.secant import SecantField
from ...engines.sweeps import SweepRequest
from ...numerics.cells.calibration import Calibration, calibrate, rehearse
from ...numerics.cells.secants import SecantRule
from ...numerics.paths.integrate import integrate
from ...numerics.paths.quadrature import AdaptiveRule
from ...numerics.paths.straight import StraightPath
from ...samples import Status
from ..session import Session

__all__ = ["PROBE_ROWS", "RowSample", "RuleTrial"]

PROBE_ROWS = 2
FEWEST_MEASURED, ENOUGH_MEASURED, MOST_MEASURED = 4, 16, 64
ROWS_PER_MEASURED_ROW, ROWS_PER_FURTHER_ROW = 60, 300
"""Rows on which cells are judged by finer ones, in jobs of so many times as many; of fewer the bar is cautious."""
MEASURED_NUMBERS = 2**21
"""Of the maps of those beyond enough, of which several passes are kept."""
FEWEST_TRIED = 6
"""Of a job in which another rule than that of gradients is tried."""


@dataclass(frozen=True)
class RowSample:
    """Some rows of a job, from its beginning to its end, and their baselines (rows, D)."""

    rows: Rows
    baselines: Tensor

    @classmethod
    def of(cls, session: Session, request: SweepRequest) -> RowSample:
        """As many as the job is worth, finite ones."""
        count = _measured_rows(session.parts.rows, session.scorer.layout.size)
        if count < FEWEST_MEASURED:
            few = session.parts.rows < FEWEST_TRIED and request.by != "secant"
            count = 0 if few else min(PROBE_ROWS, max(1, count))
        rows, baselines = [], []
        for number in np.linspace(0, session.parts.rows - 1, count).astype(int).tolist():
            table = session.read_rows(slice(number, number + 1))
            if table.finite.all():
                block = session.block(table)
                rows.append(block.rows)
                baselines.append(block.reference(request.baseline))
        if not rows:
            block = session.block(session.read_rows(slice(0, 1)))
            return cls(block.rows.take(slice(0, 0)), block.inputs[:0])
        return cls(Rows.joined(rows), torch.cat(baselines))

    def first(self, count: int) -> tuple[Rows, Tensor]:
        """Some of them."""
        return self.rows.take(slice(0, count)), self.baselines[:count]


@dataclass(frozen=True)
class RuleTrial:
    """Both rules on some rows."""

    session: Session
    rule: AdaptiveRule
    sample: RowSample

    @property
    def _path(self) -> StraightPath:
        return StraightPath(self.sample.baselines, self.sample.rows.inputs)

    def cells(self, most: float = math.inf) -> Calibration:
        """What cells take, and what is known of their error; not if it is more than `most` evaluations a row."""
        if self.session.parts.rows < FEWEST_TRIED:
            return Calibration()
        field = SecantField(self.session.scorer, self.sample.rows)
        secant = SecantRule(self.rule.rtol, self.rule.max_nodes, warp=self.rule.warp)
        if len(self.sample.rows) < FEWEST_MEASURED:
            return rehearse(field, self._path, secant)
        return calibrate(field, self._path, secant, most)

    def gradients(self, most: int) -> float:
        """Evaluations a row; extrapolated where that is more than `most`, as errors of kinks fall like 1 / n."""
        rule = replace(self.rule, max_nodes=min(most, self.rule.max_nodes))
        field, smooth = self.session.scorer.field(self.sample.rows), not self.session.probe.kinks
        integral = integrate(field, self._path, rule, smooth=smooth)
        beyond = (integral.relative_error / rule.rtol).nan_to_num(nan=1.0).clamp(min=1)
        open_rows = integral.status != Status.CONVERGED
        return float((integral.evaluations * torch.where(open_rows, beyond, 1.0)).mean())


def _measured_rows(rows: int, features: int) -> int:
    """How many of so many rows are measured.

    Example:
        >>> [_measured_rows(rows, features=64) for rows in (100, 1_000, 20_000)]
        [1, 16, 64]
        >>> _measured_rows(20_000, features=3 * 224 * 224)
        16
    """
    enough = min(ENOUGH_MEASURED, rows // ROWS_PER_MEASURED_ROW)
    return max(enough, min(MOST_MEASURED, rows // ROWS_PER_FURTHER_ROW, MEASURED_NUMBERS // features))
