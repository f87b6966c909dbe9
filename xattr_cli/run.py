"""The pipeline: open the job, explain part after part, and merge the parts into one file."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .columns import engine_attributes, engine_columns, input_columns, row_columns
from .config import Job, identity, job_hash, to_yaml
from .session import RowTable, Session, open_session
from .store import Column, Manifest, PartSet, Shard, check_writable, finished_output, provenance

__all__ = ["RunReport", "Progress", "run_job"]

log = logging.getLogger(__name__)

STORED_INPUT_BYTES = 64 * 2**20
STORED_SAMPLES = 64

Progress = Callable[[int, int], None]
"""Called with the rows done and the rows to do, once at the start and after every part."""


@dataclass(frozen=True)
class RunReport:
    """How a run went.

    Attributes:
        output: the result file; it exists if `merged`.
        rows: of the whole job.
        computed: rows computed by this very run; the others had been computed before.
        parts_missing: parts that other shards still owe.
        merged: whether the result file is complete.
        seconds: wall time from the first to the last gradient.
    """

    output: str
    rows: int
    computed: int
    parts_missing: int
    merged: bool
    seconds: float


def run_job(
    job: Job,
    *,
    shard: Shard | None = None,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
    interrupt: Callable[[], None] = lambda: None,
    command_line: str = "",
) -> RunReport:
    """Explain every row of a job, resuming what an earlier run has left.

    Arguments:
        job: a checked job.
        shard: compute only this share of the parts, and do not merge.
        overwrite: replace a result, or parts, of another job at the same path.
        progress: told how far it is.
        interrupt: called before every device call; raises `Interrupted` to stop.
        command_line: noted in the result.

    Raises:
        XattrError: with a message for the user and an exit code.
    """
    check_writable(job.output.path)
    started = time.time()
    with open_session(job, interrupt=interrupt) as session:
        manifest = _manifest(session)
        if not overwrite and finished_output(
            job.output.path, manifest.identity, manifest.checkpoint_hash, manifest.dataset_hash
        ):
            return RunReport(str(job.output.path), session.rows, 0, 0, True, 0.0)
        with PartSet.open(
            job.output.path, manifest, compression=job.output.compression, shard=shard, overwrite=overwrite
        ) as parts:
            session.scorer.packing.rows = parts.manifest.plan["batch_rows"]
            computed = _compute(session, parts, shard, progress)
            seconds = time.time() - started
            missing = len(parts.missing())
            if not missing and shard is None:
                parts.merge(_attributes(session, started, command_line))
                if not job.output.keep_parts:
                    parts.discard()
            merged = not missing and shard is None
            return RunReport(str(job.output.path), session.rows, computed, missing, merged, seconds)


def _compute(session: Session, parts: PartSet, shard: Shard | None, progress: Progress) -> int:
    missing = parts.missing(shard)
    to_do = sum(_length(session.part(number)) for number in missing)
    done = 0
    progress(done, to_do)
    for number in missing:
        rows = session.part(number)
        parts.write(number, *explain_rows(session, rows))
        done += _length(rows)
        progress(done, to_do)
    return done


def explain_rows(
    session: Session, rows: slice
) -> tuple[dict[str, Column], Mapping[str, Mapping[str, str]]]:
    """The columns and group attributes of some rows: every engine on the same block."""
    table = session.read_rows(rows)
    block = session.block(table)
    columns = row_columns(table)
    columns |= input_columns(session.layout.specs, session.samples.classes, table, _stored(session, table))
    for label, engine in session.job.engines.items():
        columns |= engine_columns(label, engine.explain(block), session.layout, len(table.id))
    attributes = {f"engines/{k}": engine_attributes(e) for k, e in session.job.engines.items()}
    return columns, attributes


def _stored(session: Session, table: RowTable) -> np.ndarray:
    """Which samples of the part's batch go into the file: those whose first row lies in this part."""
    first_row_here = np.flatnonzero(table.id % session.rows_per_sample == 0)
    position = table.position[first_row_here]
    ordinal = table.id[first_row_here] // session.rows_per_sample
    return position[ordinal < stored_samples(session)]


def stored_samples(session: Session) -> int:
    """How many of the first samples have their inputs in the file."""
    asked = session.job.output.store_inputs
    samples = len(session.samples)
    if asked == "all":
        return samples
    if asked == "none":
        return 0
    if asked == "auto":
        size = samples * sum(spec.size * spec.dtype.itemsize for spec in session.layout.specs)
        return samples if size <= STORED_INPUT_BYTES else STORED_SAMPLES
    return asked


def _manifest(session: Session) -> Manifest:
    return Manifest(
        job_yaml=to_yaml(session.job),
        identity=identity(session.job),
        checkpoint_hash=session.model.fingerprint,
        dataset_hash=session.samples.fingerprint,
        parts=session.parts,
        rows=session.rows,
        plan={"batch_rows": session.scorer.packing.rows},
    )


def _attributes(session: Session, started: float, command_line: str) -> Mapping[str, object]:
    manifest = _manifest(session)
    return provenance(
        job_yaml=manifest.job_yaml,
        job_hash=job_hash(session.job),
        checkpoint_hash=manifest.checkpoint_hash,
        dataset_hash=manifest.dataset_hash,
        seed=session.job.compute.seed,
        device=device_name(session.scorer.device),
        model_notes=session.model.notes,
        started=started,
        command_line=command_line,
        batch_rows=session.scorer.packing.rows,
    )


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)
