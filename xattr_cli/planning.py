"""What a job would take, extrapolated from a probe of a few rows."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from .config import Job
from .device import device_name
from .explaining import explain_rows
from .session import Session, open_session
from .store import Column, check_writable

__all__ = ["Plan", "plan_job", "plan_text"]

PROBE_ROWS = 16
PROBE_CALLS = 1 / 4
"""Rows of the probe per row of a device call: with so many, hardly a call is padded, as in a full part."""


@dataclass(frozen=True)
class Plan:
    """What a job would take.

    Attributes:
        rows, parts: of the whole job.
        device, batch_rows: where it runs, and rows per device call.
        kinks: operations of the network that have kinks, or may have; empty if it is smooth.
        evaluations: expected gradients and scores, by engine label.
        seconds: expected wall time of the computation.
        memory_bytes: expected peak of the process.
        device_memory_bytes: expected peak on the CUDA device; 0 on a CPU.
        disk_bytes: expected size of the result; the parts take as much again until they are merged.
        not_converged: probe rows that did not converge, by engine label.
        notes: what loading the model has reported.
    """

    rows: int
    parts: int
    device: str
    batch_rows: int
    kinks: tuple[str, ...]
    evaluations: dict[str, int]
    seconds: float
    memory_bytes: int
    device_memory_bytes: int
    disk_bytes: int
    not_converged: dict[str, int]
    notes: tuple[str, ...]


def plan_job(job: Job) -> Plan:
    """Check a job and probe a few of its rows.

    Raises:
        JobError: the job cannot be run.
    """
    check_writable(job.output.path)
    with open_session(job) as session:
        wanted = max(PROBE_ROWS, round(PROBE_CALLS * session.scorer.packing.rows))
        probe = slice(0, min(wanted, session.part_rows, session.rows))
        explain_rows(session, slice(0, 1))  # the first calls warm caches and would spoil the timing
        began = time.perf_counter()
        columns, _ = explain_rows(session, probe)
        return _extrapolate(session, columns, probe.stop, time.perf_counter() - began)


def _extrapolate(session: Session, columns: Mapping[str, Column], rows: int, seconds: float) -> Plan:
    share = session.rows / rows
    row_bytes = sum(c.values.nbytes for c in columns.values() if c.axis == "rows") / rows
    per_engine = {label: columns[f"engines/{label}/evaluations"].values for label in session.job.engines}
    statuses = {label: columns[f"engines/{label}/status"].values for label in session.job.engines}
    on_cuda = session.scorer.device.type == "cuda"
    part = min(session.part_rows, session.rows)
    return Plan(
        rows=session.rows,
        parts=session.parts,
        device=device_name(session.scorer.device),
        batch_rows=session.scorer.packing.rows,
        kinks=session.kinks,
        evaluations={label: round(values.sum() * share) for label, values in per_engine.items()},
        seconds=seconds * share,
        memory_bytes=round(_peak_memory() + WORKING_COPIES * row_bytes * part),
        device_memory_bytes=torch.cuda.max_memory_allocated(session.scorer.device) if on_cuda else 0,
        disk_bytes=round(row_bytes * session.rows + _input_bytes(session)),
        not_converged={label: int((values == 1).sum()) for label, values in statuses.items()},
        notes=session.model.notes,
    )


WORKING_COPIES = 6
"""Arrays as large as a part's maps that are alive at once: inputs, baselines, sums, results, columns."""


def _input_bytes(session: Session) -> int:
    size = sum(spec.size * spec.dtype.itemsize for spec in session.layout.specs)
    return min(session.stored_samples, len(session.samples)) * size


def _peak_memory() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def plan_text(plan: Plan) -> str:
    """The plan as lines for a person."""
    width = max(map(len, plan.evaluations))
    lines = [
        f"rows         {plan.rows} in {plan.parts} parts",
        f"device       {plan.device}, {plan.batch_rows} rows per call",
        f"network      {'kinks: ' + ', '.join(plan.kinks) if plan.kinks else 'smooth'}",
        f"time         about {_duration(plan.seconds)}",
        f"memory       about {_size(plan.memory_bytes)}",
        f"disk         about {_size(plan.disk_bytes)}, twice that until the parts are merged",
    ]
    if plan.device_memory_bytes:
        lines.insert(5, f"GPU memory   about {_size(plan.device_memory_bytes)}")
    lines += [f"note         {note}" for note in plan.notes]
    for label, evaluations in plan.evaluations.items():
        unsettled = plan.not_converged[label]
        tail = f"; {unsettled} probe rows did not converge" if unsettled else ""
        lines.append(
            f"evaluations  {label:<{width}}  about {evaluations:,} ({evaluations / plan.rows:.0f} a row){tail}"
        )
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 1 else "1 s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
