"""The pipeline: open the job, explain part after part, and merge the parts into one file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..device import device_name, page_locked
from ..errors import StoreError
from ..job.config import Job, identity, to_yaml
from ..samples import Batch
from ..store import (
    Manifest,
    PartSet,
    Shard,
    changes,
    check_writable,
    discard_leftovers,
    finished_output,
    parts_folder,
    provenance,
)
from ..store.folder import MANIFEST
from ..store.results.reader import Results
from .explain import explain_rows
from .integration import settled_plan
from .opening import open_session
from .parts import row_engines
from .prefetch import Writer, read_ahead
from .session import Session
from .study import study_dataset

__all__ = ["Progress", "RunReport", "merge_job", "run_job"]

_LOG = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS = 0.2

Progress = Callable[[int, int], None]
"""Called with the rows done and the rows to do, once at the start and after every part."""

Stage = Callable[[str, int, int], None]
"""Called with the label of a population engine, its steps done, and its steps to do."""


@dataclass(frozen=True)
class RunReport:
    """How a run went.

    Attributes:
        output: the result file; it exists if `merged`.
        rows: of the whole job.
        computed: rows computed by this very run; the others had been computed before.
        parts_missing: parts that other shards still owe.
        merged: whether the result file is complete.
        seconds: wall time of the computation, without start-up and merge.
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
    join: bool = False,
    overwrite: bool = False,
    progress: Progress = lambda done, total: None,
    stage: Stage = lambda label, done, total: None,
    interrupt: Callable[[], None] = lambda: None,
    command_line: str = "",
) -> RunReport:
    """Explain every row of a job, resuming what an earlier run has left.

    Arguments:
        job: a checked job.
        shard: compute only this share of the parts, and do not merge.
        join: the processes of all shards were launched together: progress counts the parts of all of them, and
            the first waits for the others and merges.
        overwrite: replace a result, or parts of another job, at the same path. Parts of this very job
            that are younger than the result are gone on with: a run with `overwrite` was interrupted.
        progress: told how far it is.
        stage: told how far the study of the whole dataset is.
        interrupt: called before every device call; raises `Interrupted` to stop.
        command_line: noted in the result.

    Raises:
        XattrError: with a message for the user and an exit code.
    """
    check_writable(job.output.path)
    started = time.time()
    with open_session(job, interrupt=interrupt) as session:
        manifest = _manifest(session, started, command_line)
        if finished_output(job.output.path, *_decisive(manifest), overwrite=overwrite):
            discard_leftovers(job.output.path)
            return RunReport(str(job.output.path), session.parts.rows, 0, 0, True, 0.0)
        for note in (*session.samples.notes, *session.probe.notes):
            _LOG.warning("%s", note)
        manifest = replace(manifest, plan={**manifest.plan, **_execution(session, manifest)})
        start_again = overwrite and not _is_begun(job.output.path, manifest)
        with PartSet.open(
            job.output.path, manifest, compression=job.output.compression, overwrite=start_again, shard=shard
        ) as parts:
            session = session.following(parts.manifest.plan)
            began = time.time()
            session = _study(session, parts, shard, stage)
            work = _Work.of(session, parts, shard, join)
            computed = _compute(session, parts, work, progress)
            merges = shard is None or (join and shard.index == 1)
            if join and merges:
                _wait_for_others(parts, interrupt)
                progress(work.total, work.total)
            seconds = time.time() - began
            missing = len(parts.missing())
            if merges:
                _merge(parts, keep_parts=job.output.keep_parts)
            return RunReport(str(job.output.path), session.parts.rows, computed, missing, merges, seconds)


def _is_begun(output: Path, manifest: Manifest) -> bool:
    """Whether there are parts of this very job, begun after the result at `output` was finished."""
    try:
        parts = PartSet.existing(output)
    except StoreError:
        return False
    begun = (parts.folder / MANIFEST).stat().st_mtime_ns
    is_younger = not output.exists() or begun > output.stat().st_mtime_ns
    return is_younger and not parts.manifest.changes(manifest)


def merge_job(job: Job) -> Path:
    """Merge the parts that shards have computed; the path of the result, also if it is there already.

    Raises:
        StoreError: parts are missing or of another job, or the result cannot be written.
    """
    output = job.output.path
    if output.exists() and not parts_folder(output).exists():
        with Results.open(output) as results:
            stored = json.loads(results.attributes["job_identity"])
        _refuse_other_job(f"{output}: is the result of another job", stored, job)
        return output
    parts = PartSet.existing(output)
    _refuse_other_job(f"{parts.folder}: holds parts of another job", parts.manifest.identity, job)
    _merge(parts, keep_parts=job.output.keep_parts)
    return output


def _refuse_other_job(what: str, stored: Mapping[str, Any], job: Job) -> None:
    changed = changes(stored, {**stored, **identity(job)})
    if changed:
        raise StoreError(f"{what}:" + "".join(f"\n  {line}" for line in changed))


def _study(session: Session, parts: PartSet, shard: Shard | None, stage: Stage) -> Session:
    """Compute the parts of population engines; the session with what the rows need of them."""
    effects, explaining = {}, row_engines(session.job)
    missing = {*parts.missing(shard)}
    for number, label in session.parts.population_parts.items():
        # several shards may need it for their rows; whoever comes first computes it, the same for all
        needed = label in explaining
        if number in missing or (needed and number in parts.missing()):
            parts.write(number, *study_dataset(session, label, memo=parts, stage=stage))
        if needed:
            effects[label] = parts.read(number, f"effects/{label}")
    return replace(session, effects=effects)


@dataclass(frozen=True)
class _Work:
    """Parts that are to be computed: by this process, and by those that were launched with it.

    Attributes:
        mine: numbers, in order.
        others: numbers; empty if nobody was launched with this process.
        total: rows of all of them.
    """

    mine: list[int]
    others: list[int]
    total: int

    @classmethod
    def of(cls, session: Session, parts: PartSet, shard: Shard | None, join: bool) -> _Work:
        """What is left to do."""
        mine = [number for number in parts.missing(shard) if number < session.parts.row_parts]
        candidates = range(session.parts.row_parts) if join else ()
        others = [number for number in candidates if number not in mine and not parts.has(number)]
        return cls(mine, others, sum(_length(session.parts.part(number)) for number in [*mine, *others]))


def _wait_for_others(parts: PartSet, interrupt: Callable[[], None]) -> None:
    while not all(map(parts.has, range(parts.manifest.parts))):
        interrupt()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _compute(session: Session, parts: PartSet, work: _Work, progress: Progress) -> int:
    """Compute and write the parts of this process; how many rows that were."""
    done = 0

    def tell() -> None:
        elsewhere = sum(_length(session.parts.part(number)) for number in work.others if parts.has(number))
        progress(done + elsewhere, work.total)

    def is_durable(number: int) -> None:
        nonlocal done
        done += _length(session.parts.part(number))
        tell()

    def read(number: int) -> Batch | None:
        batch = session.read_batch(session.parts.part(number))
        return None if batch is None else page_locked(batch, session.scorer.device)

    if not session.parts.rows:
        return 0
    tell()
    # what is explained inside of a network is read by running it, which a second thread must not do
    inside = bool(session.scorer.sites)
    batches = ((number, read(number)) for number in work.mine) if inside else read_ahead(read, work.mine)
    with Writer[int].opened(parts.write, is_durable) as writer:
        for number, batch in batches:
            writer.put(number, *explain_rows(session, session.parts.part(number), batch=batch))
    return done


def _manifest(session: Session, started: float, command_line: str) -> Manifest:
    """What the numbers depend on, and beside it the plan: settled once, followed by resumes and shards."""
    return Manifest(
        job_yaml=to_yaml(session.job),
        identity={**identity(session.job), "baseline_files": session.baselines.fingerprints(session.job.engines)},
        checkpoint_hash=session.model.fingerprint,
        dataset_hash=session.samples.fingerprint,
        parts=len(session.parts),
        rows=session.parts.rows,
        plan={
            **session.settled,
            "device": device_name(session.scorer.device),
            "model_notes": list(session.notes),
            "started": started,
            "command_line": command_line,
        },
    )


def _execution(session: Session, asked: Manifest) -> dict[str, Any]:
    """How the network is run and paths are integrated: as parts of this very job say, or as is settled now."""
    try:
        stored = PartSet.existing(session.job.output.path).manifest
    except StoreError:
        return settled_plan(session)
    if stored.changes(asked) or "execution" not in stored.plan:
        return settled_plan(session)
    return {key: value for key, value in stored.plan.items() if key.startswith(("execution", "integration"))}


def _decisive(manifest: Manifest) -> tuple[dict[str, Any], str, str]:
    return manifest.identity, manifest.checkpoint_hash, manifest.dataset_hash


def _merge(parts: PartSet, *, keep_parts: bool) -> None:
    plan = parts.manifest.plan
    attributes = provenance(
        package_version=__version__,
        torch_version=torch.__version__,
        device=plan["device"],
        seed=parts.manifest.identity["compute"]["seed"],
        model_notes=plan["model_notes"],
        started=plan["started"],
        command_line=plan["command_line"],
    )
    parts.merge(
        {
            **attributes,
            "batch_rows": plan["batch_rows"],
            "kinks": ", ".join(plan["kinks"]),
            "execution": plan["execution_text"],
            "integration": plan["integration_text"],
        }
    )
    if not keep_parts:
        parts.discard()


def _length(rows: slice) -> int:
    return int(rows.stop - rows.start)
