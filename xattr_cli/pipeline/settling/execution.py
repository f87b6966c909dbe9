"""The way in which a job's network is run: pinned by the job file, or measured on the job's first rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...device import Execution, Measured, Pinned, Workload, chosen_text, measure_executions, preferred
from ...engines.base import LocalEngine
from ...errors import JobError
from ...job.config import Job
from ...numerics.paths.quadrature import AdaptiveRule
from ..parts import row_engines
from ..session import Session

__all__ = ["as_cells_run", "measured_executions", "recorded", "workload_of"]

PROBE_ROWS = 2
GRADIENTS_OF_SAMPLED_MAPS = 200  # of expected gradients and the like; roughly, at the default tolerance
SHARE_OF_RTOL = 0.1
LOOSEST = 0.05


def measured_executions(session: Session) -> list[Measured]:
    """Settle how the network is run: all ways that were measured, the chosen one first.

    Raises:
        JobError: the job file pins something that this network, or an engine, cannot do.
    """
    pins = _pins(session.job)
    plain = _only_plain(session, pins) or not session.parts.rows or not _takes_gradients(session.job)
    measured = _plain(pins) if plain else _measured(session, pins)
    if measured[0].verdict.startswith("fails") and pins.base != Execution():
        raise JobError(f"compute: this network cannot be run as asked ({measured[0].how}): {measured[0].verdict}.")
    return measured


def as_cells_run(measured: Sequence[Measured], beside: float = 0.0) -> list[Measured]:
    """The same with the fastest way first in which secant cells are computed: in float32, and not compiled.

    The sum of cells is the difference of the scores in the arithmetic of the scores alone: bfloat16 misses it by
    3e-3 on a table of 30 features.

    Arguments:
        measured: the chosen one first.
        beside: see `bookkeeping`.

    Returns:
        Empty if there is none: the job file pins another arithmetic.
    """
    chosen, *others = measured
    fit = [chosen] + [one for one in others if not one.verdict.startswith(("fails", "drifts"))]
    fit = [one for one in fit if one.how.arithmetic == "float32"]
    fit = [one for one in fit if not one.how.compiled] or fit  # what is compiled is computed as it was written
    if not fit or chosen in fit:
        return fit and [*measured]
    first = preferred(fit, beside)
    given_up = replace(chosen, verdict="without secant cells")
    return [replace(first, verdict="chosen"), given_up, *(one for one in others if one is not first)]


def recorded(measured: Sequence[Measured]) -> dict[str, Any]:
    """For the plan of a job: "execution", what was chosen; "execution_tried", all that was measured; and
    "execution_text", the same for a person.
    """
    record = [one.as_dict() for one in measured]
    return {
        "execution": record[0]["execution"],
        "execution_tried": record,
        "execution_text": chosen_text(measured),
    }


def _pins(job: Job) -> Pinned:
    asked = job.compute
    return Pinned(
        channels_last=None if asked.memory_format == "auto" else asked.memory_format == "channels_last",
        folded=None if asked.fold_batchnorm == "auto" else asked.fold_batchnorm,
        arithmetic=None if asked.arithmetic == "auto" else asked.arithmetic,
        compiled=None if asked.compile == "auto" else asked.compile,
    )


def _only_plain(session: Session, pins: Pinned) -> bool:
    """Whether something looks into the network, or differentiates it twice: then it is run as it is.

    Raises:
        JobError: it is not to be run as it is.
    """
    reasons = [
        f"engines.{label} differentiates it twice"
        for label, one in session.job.engines.items()
        if one.second_order
    ]
    reasons += [f"engines.{label} follows its layers" for label, one in session.job.engines.items() if one.layered]
    reasons += ["explain looks inside of it"] if session.scorer.sites else []
    reasons += ["it needs repairs to be differentiated"] if session.scorer.repairs.notes else []
    if reasons and (pins.folded or pins.compiled):
        key = "compile" if pins.compiled else "fold_batchnorm"
        raise JobError(
            f"compute.{key}: true: the network must be run as it is, since {reasons[0]}. Leave out the key."
        )
    return bool(reasons)


def _takes_gradients(job: Job) -> bool:
    """Whether rows take gradients, by which ways to run the network are compared and timed."""
    return any(engine.differentiates for engine in row_engines(job).values())


def _plain(pins: Pinned) -> list[Measured]:
    return [Measured(pins.base, float("nan"), 0.0, "not measured")]


def _measured(session: Session, pins: Pinned) -> list[Measured]:
    table = session.read_rows(slice(0, min(PROBE_ROWS, session.parts.rows)))
    if not table.finite.any():
        return _plain(pins)
    block, finite = session.block(table), torch.from_numpy(np.flatnonzero(table.finite))
    rows = block.rows.take(finite.to(block.inputs.device))
    demand = next(iter(session.sweeps.values()), None)
    start = torch.zeros_like(block.inputs) if demand is None else block.reference(demand.baseline)
    return measure_executions(
        session.scorer,
        rows.inputs,
        start[finite.to(start.device)],
        rows.context,
        rows.target,
        pins=pins,
        workload=workload_of(session),
        tolerance=SHARE_OF_RTOL * min([LOOSEST, *_tolerances(session.job)]),
    )


def workload_of(session: Session) -> Workload:
    """What a job asks of its network."""
    known, rtols = 0.0, []
    for label, engine in row_engines(session.job).items():
        demand = engine.path() if isinstance(engine, LocalEngine) else None
        if demand is None:
            known += GRADIENTS_OF_SAMPLED_MAPS if hasattr(session.job.engines[label], "rtol") else 1
    for demand in session.sweeps.values():
        if isinstance(demand.rule, AdaptiveRule):
            rtols.append(float(demand.rule.rtol))
        else:
            known += demand.rule.nodes
    return Workload(session.parts.rows, known, min(rtols, default=None))


def _tolerances(job: Job) -> list[float]:
    return [
        float(engine.rtol)
        for engine in job.engines.values()
        if isinstance(engine, LocalEngine) and hasattr(engine, "rtol")
    ]
