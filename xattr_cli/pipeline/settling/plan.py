"""What is settled before a job computes anything, and followed by whoever resumes it or computes a share of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ...device import Measured, bookkeeping
from ..session import Session
from .execution import as_cells_run, measured_executions, recorded, workload_of
from .rules import GAIN, Choice, chosen_rule

__all__ = ["pays", "settled_plan"]


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
    beside = bookkeeping(session.scorer.device)
    serving = as_cells_run(measured, beside)
    slower = _slower(serving, measured, beside)
    rows = _rows_of_cells(session)
    running = session.following({**session.settled, **recorded(serving or measured), "batch_rows": rows})
    choices = [chosen_rule(running, request, slower) for request in session.sweeps.values()]
    wanted = any(request.by == "secant" for request in session.sweeps.values())
    if pays(choices, slower, workload_of(session).known, wanted=wanted):
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
    """Of a device call, unless the job file or the network says how many, or memory ran out with more."""
    rows, settings = session.scorer.packing.rows, session.settings
    if session.scorer.packing.fixed or session.job.compute.batch_rows != "auto" or rows < settings.rows_per_call:
        return rows
    return settings.working.rows_of_cells(rows)


def _slower(serving: Sequence[Measured], measured: Sequence[Measured], beside: float) -> float:
    """How many times as long a gradient takes if the network is run so that cells add up; ∞ if it may not be."""
    if not serving:
        return math.inf
    if serving[0].how == measured[0].how:
        return 1.0
    return (serving[0].seconds + beside) / (measured[0].seconds + beside)


def pays(choices: Sequence[Choice], slower: float, known: float, *, wanted: bool) -> bool:
    """Whether cells save more than it costs that the whole job is run as they need it.

    Arguments:
        choices: for all sweeps.
        slower: how many times as long a gradient takes then.
        known: gradients a row that are no part of adaptive sweeps.
        wanted: cells, whatever they cost.
    """
    cells = [choice for choice in choices if choice.cells]
    if not cells or wanted or slower == 1:
        return bool(cells)
    others = known + sum(choice.gradients for choice in choices if not choice.cells)
    by_gradients = others + sum(choice.gradients for choice in cells)
    return slower * others + sum(choice.worth for choice in cells) < GAIN * by_gradients
