"""What a job would take, extrapolated from a probe of a few rows."""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ..device import device_name
from ..fingerprint import HashingCost, hashing_cost
from ..job.config import Job
from ..job.identity import identity
from ..store import ResultColumn, check_writable
from ..store.results.agreement import agreement_text
from .explain import explain_rows
from .opening import open_session
from .parts import population_engines, row_engines
from .session import Session
from .settling.plan import settled_plan

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
        evaluations: expected gradients and scores, by engine label; None where it cannot be told.
        seconds: expected wall time of the computation.
        memory_bytes: expected peak of the process.
        rows_at_once: that are worked on together.
        working_bytes: what they hold at most, with device calls and results, beside network and data.
        device_memory_bytes: expected peak on the CUDA device; 0 on a CPU.
        disk_bytes: expected size of the result; the parts take as much again until they are merged.
        disk_free_bytes: what is free where the result goes.
        not_converged: probe rows that did not converge, by engine label.
        notes: what loading the model and the data has reported.
        agreement: how often predictions of the first rows agree with labels; empty if that is not known.
        hashed_bytes, hashing_seconds: of files and samples, and how long it took to read them for their hashes.
        known_bytes: of files whose hashes were in the user's cache, where a run will find those of large files.
    """

    rows: int
    parts: int
    device: str
    batch_rows: int
    kinks: tuple[str, ...]
    evaluations: dict[str, int | None]
    seconds: float
    memory_bytes: int
    rows_at_once: int
    working_bytes: int
    device_memory_bytes: int
    disk_bytes: int
    disk_free_bytes: int
    not_converged: dict[str, int]
    notes: tuple[str, ...]
    agreement: str
    hashed_bytes: int
    hashing_seconds: float
    known_bytes: int


def plan_job(job: Job) -> Plan:
    """Check a job and probe a few of its rows.

    Raises:
        JobError: the job cannot be run.
    """
    check_writable(job.output.path)
    before = hashing_cost()
    with open_session(job) as opened:
        identity(job)
        session = opened.following({**opened.settled, **settled_plan(opened)})
        hashing = hashing_cost().since(before)
        return _extrapolate(session, _probe_rows(session), _probe_population(session), hashing)


@dataclass(frozen=True)
class _RowProbe:
    """What a few rows took."""

    rows: int = 0
    seconds: float = 0.0
    row_bytes: float = 0.0
    evaluations: Mapping[str, int] = field(default_factory=dict)
    not_converged: Mapping[str, int] = field(default_factory=dict)
    agreement: str = ""


def _probe_rows(session: Session) -> _RowProbe:
    labels = [label for label in row_engines(session.job) if label not in population_engines(session.job)]
    if not labels:
        return _RowProbe()
    wanted = max(PROBE_ROWS, round(PROBE_CALLS * session.scorer.packing.rows))
    rows = min(wanted, session.parts.part_rows, session.parts.rows)
    explain_rows(session, slice(0, 1), labels)  # the first calls warm caches and would spoil the timing
    began = time.perf_counter()
    columns, _ = explain_rows(session, slice(0, rows), labels)
    return _RowProbe(
        rows=rows,
        seconds=time.perf_counter() - began,
        row_bytes=sum(c.values.nbytes for c in columns.values() if c.axis == "rows") / rows,
        evaluations={k: _evaluations(columns, f"engines/{k}") for k in labels},
        not_converged={k: int((columns[f"engines/{k}/status"].values == 1).sum()) for k in labels},
        agreement=agreement_text(*(columns[f"rows/{name}"].values for name in ("sample", "label", "prediction"))),
    )


def _evaluations(columns: Mapping[str, ResultColumn], engine: str) -> int:
    """Of an engine's maps, and of the question how firm they are."""
    asked = (f"{engine}/evaluations", f"{engine}/stability/evaluations")
    return sum(int(columns[name].values.sum()) for name in asked if name in columns)


def _probe_population(session: Session) -> dict[str, int | None]:
    """Expected evaluations of the engines that study the whole dataset; None where they cannot tell."""
    return {
        label: engine.expected_evaluations(session.population(label))
        for label, engine in population_engines(session.job).items()
    }


def _seconds_per_score(session: Session) -> float:
    table = session.read_rows(slice(0, min(session.parts.part_rows, session.all_rows)))
    points, context = session.scorer.placed(table.batch)
    session.scorer.scores(points, context).cpu()
    began = time.perf_counter()
    session.scorer.scores(points, context).cpu()  # what a device still computes is no score yet
    return (time.perf_counter() - began) / len(points)


def _extrapolate(
    session: Session, probe: _RowProbe, studies: Mapping[str, int | None], hashing: HashingCost
) -> Plan:
    share = session.parts.rows / probe.rows if probe.rows else 0.0
    known = sum(count for count in studies.values() if count is not None)
    on_cuda = session.scorer.device.type == "cuda"
    part = min(session.parts.part_rows, session.parts.rows)
    at_once = min(session.settings.working.rows_at_once(session.scorer.packing.rows), part)
    return Plan(
        rows=session.parts.rows,
        parts=len(session.parts),
        device=device_name(session.scorer.device),
        batch_rows=session.scorer.packing.rows,
        kinks=session.probe.kinks,
        evaluations={**{k: round(count * share) for k, count in probe.evaluations.items()}, **studies},
        seconds=probe.seconds * share + (known * _seconds_per_score(session) if known else 0.0),
        memory_bytes=round(_peak_memory() + WORKING_COPIES * probe.row_bytes * part),
        rows_at_once=at_once,
        working_bytes=_working_bytes(session, at_once) if session.parts.rows else 0,
        device_memory_bytes=torch.cuda.max_memory_allocated(session.scorer.device) if on_cuda else 0,
        disk_bytes=round(probe.row_bytes * session.parts.rows + _input_bytes(session)),
        disk_free_bytes=_free_bytes(session.job.output.path),
        not_converged=dict(probe.not_converged),
        notes=session.notes,
        agreement=probe.agreement,
        hashed_bytes=hashing.read,
        hashing_seconds=hashing.seconds,
        known_bytes=hashing.cached,
    )


def _working_bytes(session: Session, rows: int) -> int:
    by_engines = max(0, session.memory_bytes - session.settings.working.memory)  # their own share of it
    return session.settings.working.footprint.of(session.scorer.packing.rows, rows) + by_engines


WORKING_COPIES = 6
"""Arrays as large as a part's maps that are alive at once: inputs, baselines, sums, results, columns."""


def _input_bytes(session: Session) -> int:
    size = sum(spec.size * spec.dtype.itemsize for spec in session.layout.specs)
    return min(session.stored_samples, len(session.samples)) * size


def _free_bytes(output: Path) -> int:
    folder = next(folder for folder in output.absolute().parents if folder.exists())
    return shutil.disk_usage(folder).free


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
    known = f"; {_size(plan.known_bytes)} were known from before" if plan.known_bytes else ""
    lines.append(f"hashing      took {plan.hashing_seconds:.1f} s for {_size(plan.hashed_bytes)}{known}")
    if 2 * plan.disk_bytes > plan.disk_free_bytes:
        lines.append(
            f"TOO LARGE    only {_size(plan.disk_free_bytes)} are free there: choose another output.path, "
            "or ask for less (fewer rows or groups, output.compression)"
        )
    if plan.working_bytes:
        held = f"at most {_size(plan.working_bytes)} beside network and data, {plan.rows_at_once} rows at once"
        lines.insert(5, f"of it rows   {held}")
    if plan.device_memory_bytes:
        lines.insert(5, f"GPU memory   about {_size(plan.device_memory_bytes)}")
    lines += [f"labels       {plan.agreement}"] if plan.agreement else []
    lines += [f"note         {note}" for note in plan.notes]
    for label, evaluations in plan.evaluations.items():
        unsettled = plan.not_converged.get(label)
        tail = f"; {unsettled} probe rows did not converge" if unsettled else ""
        each = f" ({evaluations / plan.rows:.0f} a row)" if evaluations and label in plan.not_converged else ""
        count = "as many as its tolerance takes" if evaluations is None else f"about {evaluations:,}{each}"
        lines.append(f"evaluations  {label:<{width}}  {count}{tail}")
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
