"""By which rule a job's paths are integrated: as asked for, or as its own rows say is cheaper."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..device import Rows
from ..device.packing import give_back_memory, is_out_of_memory
from ..device.secant import SecantField, SecantProbe, probe_secants
from ..engines.alternatives import path_requests
from ..engines.base import Engine
from ..engines.sweeps import SweepRequest, sweep_key
from ..errors import JobError, RunError
from ..numerics.cells.calibration import Calibration, calibrate, rehearse
from ..numerics.cells.secants import SecantRule
from ..numerics.paths.integrate import integrate
from ..numerics.paths.quadrature import AdaptiveRule
from ..numerics.paths.straight import StraightPath
from ..samples import Status
from .execution import plan_execution
from .session import Session

__all__ = ["rule_of", "settled_plan"]

PROBE_ROWS = 2
ROWS_PER_MEASURED_ROW = 60
FEWEST_MEASURED, MOST_MEASURED = 4, 16
"""Rows on which cells are judged by finer ones, in jobs of so many times as many; else the bar is cautious."""
FEWEST_TRIED = 6
"""Of a job in which another rule than that of gradients is tried."""
GAIN = 0.9
"""Cells must cost less than this share of what gradients do: a coin flip is not worth another rule."""
CHEAP = 1.5
"""Gradients: cells that are worth no more are likely to win."""


@dataclass(frozen=True)
class _Choice:
    """For one sweep: what is known of its cells, None if gradients are integrated; and why."""

    cells: Calibration | None
    reason: str


def settled_plan(session: Session) -> dict[str, Any]:
    """Settle how the network is run, and then by which rule every sweep of the job is made.

    Returns:
        For the plan of a job: what `plan_execution` gives; "integration", for each sweep what is known of its
        secant cells, None if it is made of gradients; and "integration_text", the same for a person.

    Raises:
        JobError: the job file asks for what this network cannot do.
    """
    execution = plan_execution(session)
    running = session.following({**session.settled, **execution})
    choices = [_choice(running, request) for request in session.sweeps.values()]
    return {
        **execution,
        "integration": [None if choice.cells is None else asdict(choice.cells) for choice in choices],
        "integration_text": "; ".join(dict.fromkeys(choice.reason for choice in choices)),
    }


def rule_of(session: Session, engine: Engine) -> str:
    """By which rule the paths of an engine are integrated: secant, gradient or a fixed one; empty for none."""
    request = next(iter(path_requests([engine])), None)
    if request is None:
        return ""
    if not isinstance(request.rule, AdaptiveRule):
        return request.rule.name
    return "secant" if request.may_be_secant and sweep_key(request) in session.cells else "gradient"


def _choice(session: Session, request: SweepRequest) -> _Choice:
    rule = request.rule
    if not isinstance(rule, AdaptiveRule):
        return _Choice(None, f"{rule.name} rule, {rule.nodes} nodes")
    if not request.may_be_secant:
        return _Choice(None, "gradients")
    if session.contradictions:
        return _Choice(None, "gradients, which are not the derivative of the score: cells would be of the score")
    packing, rows = session.scorer.packing, session.scorer.packing.rows
    try:
        return _by_sample(session, request, rule)
    except (RuntimeError, MemoryError, RunError) as error:
        if not is_out_of_memory(error) or request.by == "secant":
            raise
    packing.recover(rows)
    give_back_memory()
    return _Choice(None, "gradients: too little memory to try another rule")


def _by_sample(session: Session, request: SweepRequest, rule: AdaptiveRule) -> _Choice:
    """What some rows of the job tell."""
    sample = _Sample.of(session, request)
    if not len(sample.rows):
        return _Choice(None, "gradients: too few rows to try another rule")
    probe = probe_secants(session.scorer, *sample.first(PROBE_ROWS))
    if not probe.serves:
        if request.by == "secant":
            raise JobError(f"rule: secant: {probe.reason}. Use rule: auto, or rule: gradient.")
        return _Choice(None, f"gradients: {probe.reason}")
    return _tried(session, request, rule, sample, probe)


def _tried(
    session: Session, request: SweepRequest, rule: AdaptiveRule, sample: _Sample, probe: SecantProbe
) -> _Choice:
    """Try both rules on the sample: how many evaluations each takes.

    What is likely to win is tried first, and the other one as far as it may win. Nothing is timed: two runs of a
    job must not make two choices, as their maps would differ.
    """
    trial = _Trial(session, rule, sample)
    if request.by == "secant":
        return _Choice(trial.cells(), "secant cells")
    if probe.cost > CHEAP:
        gradients = trial.gradients(rule.max_nodes)
        cells = trial.cells(most=GAIN * gradients / probe.cost)
    else:
        cells = trial.cells()
        even = cells.cost * probe.cost / GAIN
        if even < min(rule.intervals, rule.max_nodes):
            return _Choice(
                cells, f"secant cells: {_worth(cells, probe)}, against {rule.intervals} gradients at least"
            )
        gradients = trial.gradients(max(2 * rule.intervals, math.ceil(min(even, rule.max_nodes) / 2)))
    words = f"{_worth(cells, probe)}, against {gradients:.1f} gradients"
    if cells.cost * probe.cost < GAIN * gradients and cells.cost <= rule.max_nodes:
        return _Choice(cells, f"secant cells: {words}")
    return _Choice(None, f"gradients: secant cells would take {words}")


def _worth(cells: Calibration, probe: SecantProbe) -> str:
    taken = "more evaluations a row" if cells.cost == math.inf else f"{cells.cost:.1f} evaluations a row"
    return f"{taken}, each worth {probe.cost:g} gradients"


@dataclass(frozen=True)
class _Trial:
    """Both rules on some rows."""

    session: Session
    rule: AdaptiveRule
    sample: _Sample

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


@dataclass(frozen=True)
class _Sample:
    """Some rows of a job, from its beginning to its end, and their baselines (rows, D)."""

    rows: Rows
    baselines: Tensor

    @classmethod
    def of(cls, session: Session, request: SweepRequest) -> _Sample:
        """As many as the job is worth, finite ones."""
        count = min(MOST_MEASURED, session.parts.rows // ROWS_PER_MEASURED_ROW)
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
        return cls(_together(rows), torch.cat(baselines))

    def first(self, count: int) -> tuple[Rows, Tensor]:
        """Some of them."""
        return self.rows.take(slice(0, count)), self.baselines[:count]


def _together(rows: list[Rows]) -> Rows:
    return Rows(
        inputs=torch.cat([some.inputs for some in rows]),
        context={name: torch.cat([some.context[name] for some in rows]) for name in rows[0].context},
        target=torch.cat([some.target for some in rows]),
        sample=torch.cat([some.sample for some in rows]),
    )
