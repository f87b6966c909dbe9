"""How the memory of a job is allotted: to its parts, its device calls, and the rows that are worked on at once."""

from __future__ import annotations

import torch

from ..device import rows_per_call
from ..device.places import MOST_SHARED
from ..errors import JobError
from .memory import WorkingMemory, footprint_of
from .session import Session

__all__ = ["check_memory", "settle_rows"]

CUDA_SHARE = 1 / 4
"""Of a card's memory, for rows that are worked on; device calls take another share, see `device.packing`."""


def settle_rows(session: Session, activations: int) -> None:
    """Settle how many rows a device call takes, and how many are worked on at once.

    Arguments:
        session: its `working` and the rows per call of its scorer are set.
        activations: bytes that a row of a device call leaves for its backward pass.
    """
    scorer, compute = session.scorer, session.job.compute
    footprint = footprint_of(
        session.row_engines,
        session.planned.values(),
        session.layout.specs,
        itemsize=scorer.dtype.itemsize,
        activations=activations,
        input_bytes=sum(spec.size * spec.dtype.itemsize for spec in session.samples.inputs),
        part_rows=min(session.part_rows, session.rows),
        targets=min(session.rows_per_sample, MOST_SHARED),
    )
    session.working = WorkingMemory(footprint, _memory_of_rows(session), binding=compute.memory != "auto")
    if scorer.packing.fixed:
        return
    if compute.batch_rows == "auto":
        scorer.packing.rows = session.working.rows_per_call(rows_per_call(scorer, activations))
    else:
        scorer.packing.rows = compute.batch_rows


def check_memory(session: Session) -> None:
    """Refuse an amount of memory that not even a single row fits into.

    Raises:
        JobError: says how much is needed, and what for.
    """
    rows, working = session.scorer.packing.rows, session.working
    needed = working.missing(rows)
    if needed is None or not session.rows:
        return
    share, footprint = _share(session), working.footprint
    part_rows = min(session.part_rows, session.rows)
    twice = " Second derivatives take as much again, which is in these numbers." if share > 1 else ""
    raise JobError(
        f"compute.memory: {_mebibytes(share * working.memory)} is not enough, a single row needs about "
        f"{_mebibytes(share * needed)}: {_mebibytes(share * footprint.part)} for parts of {part_rows} rows "
        f"(output.part_rows), {_mebibytes(share * footprint.call * rows)} for device calls of {rows} "
        f"(compute.batch_rows), and {_mebibytes(share * footprint.row)} for itself (max_nodes).{twice} Raise the "
        "memory, or lower one of these."
    )


def _memory_of_rows(session: Session) -> int:
    """Bytes for parts, calls and rows."""
    memory, device = session.memory_bytes, session.scorer.device
    if session.job.compute.memory == "auto" and device.type == "cuda":
        memory = max(memory, int(torch.cuda.get_device_properties(device).total_memory * CUDA_SHARE))
    return memory // _share(session)


def _share(session: Session) -> int:
    """Engines of second order hold half of the memory beside what is counted here."""
    return 2 if any(engine.second_order for engine in session.row_engines.values()) else 1


def _mebibytes(count: int) -> str:
    return f"{-(-count // 2**20):,d} MiB"
