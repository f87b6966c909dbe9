"""By which rule a sweep of paths is integrated: as asked for, or as the job's own rows say is cheaper."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...device import Execution
from ...device.packing import give_back_memory, is_out_of_memory
from ...device.secant import probe_secants
from ...engines.alternatives import path_requests
from ...engines.base import Engine
from ...engines.sweeps import SweepRequest, sweep_key
from ...errors import JobError, RunError
from ...numerics.cells.calibration import Calibration
from ...numerics.paths.quadrature import AdaptiveRule
from ..session import Session
from .trial import PROBE_ROWS, RowSample, RuleTrial

__all__ = ["GAIN", "Choice", "chosen_rule", "rule_of"]

GAIN = 0.9
"""Cells must cost less than this share of what gradients do: a coin flip is not worth another rule."""
CHEAP = 1.5
"""Gradients: cells that are worth no more are likely to win."""


@dataclass(frozen=True)
class Choice:
    """By which rule the paths of one sweep are integrated.

    Attributes:
        cells: what is known of them, None if gradients are integrated.
        reason: why.
        gradients: what the adaptive rule takes a row, roughly; 0 of fixed rules, which every job knows.
        worth: what cells take, in gradients of the fastest way to run the network.
    """

    cells: Calibration | None
    reason: str
    gradients: float = 0.0
    worth: float = 0.0

    @classmethod
    def of_gradients(cls, reason: str, taken: float) -> Choice:
        """Secant cells are not taken."""
        return cls(None, reason, taken)

    def given_up(self, how: Execution) -> Choice:
        """Gradients after all, as the network is faster in a way in which there are no cells."""
        if self.cells is None:
            return self
        return self.of_gradients(f"gradients: in {how} faster than {self.reason}", self.gradients)


def rule_of(session: Session, engine: Engine) -> str:
    """By which rule the paths of an engine are integrated: secant, gradient or a fixed one; empty for none."""
    request = next(iter(path_requests([engine])), None)
    if request is None:
        return ""
    if not isinstance(request.rule, AdaptiveRule):
        return request.rule.name
    return "secant" if request.may_be_secant and sweep_key(request) in session.cells else "gradient"


def chosen_rule(session: Session, request: SweepRequest, slower: float) -> Choice:
    """For one sweep.

    Arguments:
        session: the job, run as cells need it.
        request: the sweep.
        slower: how many times as long a gradient takes then as in the fastest way; ∞ if the job may not be run so.

    Raises:
        JobError: the job file asks for a rule that this network cannot have.
    """
    rule = request.rule
    if not isinstance(rule, AdaptiveRule):
        return Choice.of_gradients(f"{rule.name} rule, {rule.nodes} nodes", 0)
    if not request.may_be_secant:
        return Choice.of_gradients("gradients", rule.intervals)
    if slower == math.inf:
        arithmetic = session.scorer.execution.arithmetic
        return _refused(request, rule, f"cells add up in float32 alone, and compute.arithmetic is {arithmetic}")
    if session.contradictions:
        return Choice.of_gradients(
            "gradients, which are not the derivative of the score: cells would be of the score", rule.intervals
        )
    packing, rows = session.scorer.packing, session.scorer.packing.rows
    try:
        return _by_sample(session, request, rule, slower)
    except (RuntimeError, MemoryError, RunError) as error:
        if not is_out_of_memory(error) or request.by == "secant":
            raise
    packing.recover(rows)
    give_back_memory()
    return Choice.of_gradients("gradients: too little memory to try another rule", rule.intervals)


def _refused(request: SweepRequest, rule: AdaptiveRule, reason: str) -> Choice:
    """No cells, for a reason.

    Raises:
        JobError: the job file asks for them.
    """
    if request.by == "secant":
        raise JobError(f"rule: secant: {reason}. Use rule: auto, or rule: gradient.")
    return Choice.of_gradients(f"gradients: {reason}", rule.intervals)


def _by_sample(session: Session, request: SweepRequest, rule: AdaptiveRule, slower: float) -> Choice:
    """What some rows of the job tell."""
    sample = RowSample.of(session, request)
    if not len(sample.rows):
        return Choice.of_gradients("gradients: too few rows to try another rule", rule.intervals)
    probe = probe_secants(session.scorer, *sample.first(PROBE_ROWS))
    if not probe.serves:
        return _refused(request, rule, probe.reason)
    return _tried(RuleTrial(session, rule, sample), probe.cost * slower, wanted=request.by == "secant")


def _tried(trial: RuleTrial, price: float, *, wanted: bool) -> Choice:
    """Try both rules on the sample: how many evaluations each takes.

    What is likely to win is tried first, and the other one as far as it may win. No rule is timed: two runs of a
    job should not make two choices, as their maps would differ. What was timed is arithmetic of fewer bits.

    Arguments:
        price: of a cell, in gradients.
        wanted: cells, whatever they cost.
    """
    rule = trial.rule
    if wanted:
        return Choice(trial.cells(), "secant cells")
    if price > CHEAP:
        gradients = trial.gradients(rule.max_nodes)
        cells = trial.cells(most=GAIN * gradients / price)
    else:
        cells = trial.cells()
        even = cells.cost * price / GAIN
        fewest = min(rule.intervals, rule.max_nodes) + 1  # the score of the baseline is counted, too
        if even < fewest:
            words = f"secant cells: {_worth(cells, price)}, against {fewest} gradients at least"
            return Choice(cells, words, fewest, cells.cost * price)
        gradients = trial.gradients(max(2 * rule.intervals, math.ceil(min(even, rule.max_nodes) / 2)))
    words, worth = f"{_worth(cells, price)}, against {gradients:.1f} gradients", cells.cost * price
    if worth < GAIN * gradients and cells.cost <= rule.max_nodes:
        return Choice(cells, f"secant cells: {words}", gradients, worth)
    return Choice.of_gradients(f"gradients: secant cells would take {words}", gradients)


def _worth(cells: Calibration, price: float) -> str:
    taken = "more evaluations a row" if cells.cost == math.inf else f"{cells.cost:.1f} evaluations a row"
    return f"{taken}, each worth {price:.3g} gradients"
