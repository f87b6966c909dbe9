"""By which rule a job's paths are integrated: as asked for, or as its own rows say is cheaper."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..device import Execution, Measured, Rows, bookkeeping
from ..device.packing import give_back_memory, is_out_of_memory
from ..device.secant import SecantField, probe_secants
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
from .execution import as_cells_run, measured_executions, recorded, workload_of
from .session import Session

__all__ = ["rule_of", "settled_plan"]

PROBE_ROWS = 2
FEWEST_MEASURED, ENOUGH_MEASURED, MOST_MEASURED = 4, 16, 64
ROWS_PER_MEASURED_ROW, ROWS_PER_FURTHER_ROW = 60, 300
"""Rows on which cells are judged by finer ones, in jobs of so many times as many; of fewer the bar is cautious."""
MEASURED_NUMBERS = 2**21
"""Of the maps of those beyond enough, of which several passes are kept."""
FEWEST_TRIED = 6
"""Of a job in which another rule than that of gradients is tried."""
GAIN = 0.9
"""Cells must cost less than this share of what gradients do: a coin flip is not worth another rule."""
CHEAP = 1.5
"""Gradients: cells that are worth no more are likely to win."""


@dataclass(frozen=True)
class _Choice:
    """For one sweep.

    Attributes:
        cells: what is known of them, None if gradients are integrated.
        reason: why.
        gradients: what the rule of gradients takes a row, roughly.
        worth: what cells take, in gradients of the fastest way to run the network.
    """

    cells: Calibration | None
    reason: str
    gradients: float = 0.0
    worth: float = 0.0

    @classmethod
    def of_gradients(cls, reason: str, taken: float = 0.0) -> _Choice:
        """Secant cells are not taken."""
        return cls(None, reason, taken)

    def given_up(self, how: Execution) -> _Choice:
        """Gradients after all, as the network is faster in a way in which there are no cells."""
        if self.cells is None:
            return self
        return self.of_gradients(f"gradients: in {how} faster than {self.reason}", self.gradients)


def settled_plan(session: Session) -> dict[str, Any]:
    """Settle how the network is run, and by which rule every sweep of the job is made.

    Returns:
        For the plan of a job: what `recorded` gives; "batch_rows", of a device call; "integration", for each sweep
        what is known of its secant cells, None if it is made of gradients; and "integration_text", the same for a
        person.

    Raises:
        JobError: the job file asks for what this network cannot do.
    """
    measured = measured_executions(session)
    serving = as_cells_run(measured)
    slower = _slower(serving, measured, bookkeeping(session.scorer.device))
    rows = _rows_of_cells(session)
    running = session.following({**session.settled, **recorded(serving or measured), "batch_rows": rows})
    choices = [_choice(running, request, slower) for request in session.sweeps.values()]
    if _pays(session, choices, slower):
        measured = serving
    else:
        rows = session.scorer.packing.rows
        choices = [choice.given_up(measured[0].how) for choice in choices]
    return {
        **recorded(measured),
        "batch_rows": rows,
        "integration": [None if choice.cells is None else asdict(choice.cells) for choice in choices],
        "integration_text": "; ".join(dict.fromkeys(choice.reason for choice in choices)),
    }


def _rows_of_cells(session: Session) -> int:
    """Of a device call, unless the job file or the network says how many."""
    rows = session.scorer.packing.rows
    if session.scorer.packing.fixed or session.job.compute.batch_rows != "auto":
        return rows
    return session.settings.working.rows_of_cells(rows)


def _slower(serving: Sequence[Measured], measured: Sequence[Measured], beside: float) -> float:
    """How many times as long a gradient takes if the network is run so that cells add up; ∞ if it may not be."""
    if not serving:
        return math.inf
    if serving[0].how == measured[0].how:
        return 1.0
    return (serving[0].seconds + beside) / (measured[0].seconds + beside)


def _pays(session: Session, choices: Sequence[_Choice], slower: float) -> bool:
    """Whether cells save more than it costs that the whole job is run as they need it."""
    if not any(choice.cells for choice in choices):
        return False
    if slower == 1 or any(request.by == "secant" for request in session.sweeps.values()):
        return True
    others = workload_of(session).known + sum(choice.gradients for choice in choices if not choice.cells)
    cells = [choice for choice in choices if choice.cells]
    by_gradients = others + sum(choice.gradients for choice in cells)
    return slower * others + sum(choice.worth for choice in cells) < GAIN * by_gradients


def rule_of(session: Session, engine: Engine) -> str:
    """By which rule the paths of an engine are integrated: secant, gradient or a fixed one; empty for none."""
    request = next(iter(path_requests([engine])), None)
    if request is None:
        return ""
    if not isinstance(request.rule, AdaptiveRule):
        return request.rule.name
    return "secant" if request.may_be_secant and sweep_key(request) in session.cells else "gradient"


def _choice(session: Session, request: SweepRequest, slower: float) -> _Choice:
    """For one sweep.

    Arguments:
        slower: see `_slower`.
    """
    rule = request.rule
    if not isinstance(rule, AdaptiveRule):
        return _Choice.of_gradients(f"{rule.name} rule, {rule.nodes} nodes", rule.nodes)
    if not request.may_be_secant:
        return _Choice.of_gradients("gradients", rule.intervals)
    if slower == math.inf:
        arithmetic = session.scorer.execution.arithmetic
        return _refused(request, f"cells add up in float32 alone, and compute.arithmetic is {arithmetic}")
    if session.contradictions:
        return _Choice.of_gradients(
            "gradients, which are not the derivative of the score: cells would be of the score"
        )
    packing, rows = session.scorer.packing, session.scorer.packing.rows
    try:
        return _by_sample(session, request, rule, slower)
    except (RuntimeError, MemoryError, RunError) as error:
        if not is_out_of_memory(error) or request.by == "secant":
            raise
    packing.recover(rows)
    give_back_memory()
    return _Choice.of_gradients("gradients: too little memory to try another rule")


def _refused(request: SweepRequest, reason: str) -> _Choice:
    """No cells, for a reason.

    Raises:
        JobError: the job file asks for them.
    """
    if request.by == "secant":
        raise JobError(f"rule: secant: {reason}. Use rule: auto, or rule: gradient.")
    return _Choice.of_gradients(f"gradients: {reason}")


def _by_sample(session: Session, request: SweepRequest, rule: AdaptiveRule, slower: float) -> _Choice:
    """What some rows of the job tell."""
    sample = _Sample.of(session, request)
    if not len(sample.rows):
        return _Choice.of_gradients("gradients: too few rows to try another rule")
    probe = probe_secants(session.scorer, *sample.first(PROBE_ROWS))
    if not probe.serves:
        return _refused(request, probe.reason)
    return _tried(_Trial(session, rule, sample), probe.cost * slower, wanted=request.by == "secant")


def _tried(trial: _Trial, price: float, *, wanted: bool) -> _Choice:
    """Try both rules on the sample: how many evaluations each takes.

    What is likely to win is tried first, and the other one as far as it may win. Nothing is timed here: two runs
    of a job should not make two choices, as their maps would differ.

    Arguments:
        price: of a cell, in gradients.
        wanted: cells, whatever they cost.
    """
    rule = trial.rule
    if wanted:
        return _Choice(trial.cells(), "secant cells")
    if price > CHEAP:
        gradients = trial.gradients(rule.max_nodes)
        cells = trial.cells(most=GAIN * gradients / price)
    else:
        cells = trial.cells()
        even = cells.cost * price / GAIN
        if even < min(rule.intervals, rule.max_nodes):
            words = f"secant cells: {_worth(cells, price)}, against {rule.intervals} gradients at least"
            return _Choice(cells, words, rule.intervals, cells.cost * price)
        gradients = trial.gradients(max(2 * rule.intervals, math.ceil(min(even, rule.max_nodes) / 2)))
    words, worth = f"{_worth(cells, price)}, against {gradients:.1f} gradients", cells.cost * price
    if worth < GAIN * gradients and cells.cost <= rule.max_nodes:
        return _Choice(cells, f"secant cells: {words}", gradients, worth)
    return _Choice.of_gradients(f"gradients: secant cells would take {words}", gradients)


def _worth(cells: Calibration, price: float) -> str:
    taken = "more evaluations a row" if cells.cost == math.inf else f"{cells.cost:.1f} evaluations a row"
    return f"{taken}, each worth {price:.3g} gradients"


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
        return cls(_together(rows), torch.cat(baselines))

    def first(self, count: int) -> tuple[Rows, Tensor]:
        """Some of them."""
        return self.rows.take(slice(0, count)), self.baselines[:count]


def _measured_rows(rows: int, features: int) -> int:
    """How many of so many rows are measured."""
    enough = min(ENOUGH_MEASURED, rows // ROWS_PER_MEASURED_ROW)
    return max(enough, min(MOST_MEASURED, rows // ROWS_PER_FURTHER_ROW, MEASURED_NUMBERS // features))


def _together(rows: list[Rows]) -> Rows:
    return Rows(
        inputs=torch.cat([some.inputs for some in rows]),
        context={name: torch.cat([some.context[name] for some in rows]) for name in rows[0].context},
        target=torch.cat([some.target for some in rows]),
        sample=torch.cat([some.sample for some in rows]),
    )
