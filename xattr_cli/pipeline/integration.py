"""By which rule a job's paths are integrated: as asked for, or as its own rows say is cheaper."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..device import Rows
from ..device.secant import SecantField, probe_secants, secants_of_call
from ..engines.base import Engine, LocalEngine
from ..engines.sweeps import SweepRequest, sweep_key
from ..errors import JobError
from ..numerics.paths.calibration import Calibration, calibrate
from ..numerics.paths.integrate import PathIntegral, integrate
from ..numerics.paths.quadrature import AdaptiveRule
from ..numerics.paths.secants import SecantRule, integrate_secants
from ..numerics.paths.straight import StraightPath
from .execution import plan_execution
from .session import Session

__all__ = ["rule_of", "settled_plan"]

PROBE_ROWS = 2
ROWS_PER_MEASURED_ROW = 60
FEWEST_MEASURED, MOST_MEASURED = 4, 16
"""Rows on which cells are judged by finer ones, in jobs of so many times as many; else the bar is cautious."""
FEWEST_ROWS = 6
"""Of a job in which another rule than that of gradients is tried."""
GAIN = 0.9
"""Cells must take less than this of the time of gradients: a coin flip is not worth another rule."""


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
    request = engine.path() if isinstance(engine, LocalEngine) else None
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
    sample = _Sample.of(session, request)
    if not len(sample.rows):
        return _Choice(None, "gradients: too few rows to try another rule")
    probe = probe_secants(session.scorer, *sample.first(PROBE_ROWS))
    if not probe.serves:
        if request.by == "secant":
            raise JobError(f"rule: secant: {probe.reason}. Use rule: auto, or rule: gradient.")
        return _Choice(None, f"gradients: {probe.reason}")
    return _tried(session, request, rule, sample)


def _tried(session: Session, request: SweepRequest, rule: AdaptiveRule, sample: _Sample) -> _Choice:
    """Try both rules on the sample: how many evaluations each takes, and how long one of them does."""
    path, field = StraightPath(sample.baselines, sample.rows.inputs), SecantField(session.scorer, sample.rows)
    cells = Calibration()
    secant = SecantRule(rule.rtol, rule.max_nodes, cells.cells, rule.warp)
    if len(sample.rows) >= FEWEST_MEASURED:
        cells = calibrate(field, path, secant)
    if request.by == "secant":
        return _Choice(cells, "secant cells")
    if not cells.rows:
        cells = replace(cells, cost=_evaluations(integrate_secants(field, path, secant)))
    found = integrate(session.scorer.field(sample.rows), path, rule, smooth=not session.probe.kinks)
    ratio, gradients = _cost_of_a_cell(session, sample), _evaluations(found)
    words = f"{cells.cost:.1f} evaluations a row at {ratio:.2f} of a gradient against {gradients:.1f} gradients"
    if cells.cost * ratio < GAIN * gradients:
        return _Choice(cells, f"secant cells: {words}")
    return _Choice(None, f"gradients: secant cells would take {words}")


def _evaluations(found: PathIntegral) -> float:
    return float(found.evaluations.double().mean())


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
            few = session.parts.rows < FEWEST_ROWS and request.by != "secant"
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


LONG = 0.2
TIMED_CALLS = 3
"""A call that takes so many seconds is timed once, and shorter ones, after the first, so often."""


def _cost_of_a_cell(session: Session, sample: _Sample) -> float:
    """Time of a call with secants over that of one with derivatives."""
    scorer, size = session.scorer, session.scorer.packing.rows
    row = torch.arange(size, device=sample.rows.inputs.device) % len(sample.rows)
    t = torch.linspace(0, 1, size, dtype=sample.baselines.dtype, device=row.device)[:, None]
    rows = sample.rows.take(row)
    points = sample.baselines[row].lerp(rows.inputs, t)

    def gradients() -> None:
        scorer.gradients_of_call(points, rows.context, [rows.target], size)

    def cells() -> None:
        secants_of_call(scorer.eager, points, rows.context, [rows.target], size)

    with scorer.exact_arithmetic():
        times = [[_seconds(call, points) for call in (gradients, cells)]]
        if min(times[0]) < LONG:
            times = [[_seconds(call, points) for call in (gradients, cells)] for _ in range(TIMED_CALLS)]
    by_gradients, by_cells = zip(*times, strict=True)
    return float(min(by_cells) / min(by_gradients))


def _seconds(call: Callable[[], None], points: Tensor) -> float:
    began = time.perf_counter()
    call()
    if points.device.type == "cuda":
        torch.cuda.synchronize(points.device)
    return time.perf_counter() - began
