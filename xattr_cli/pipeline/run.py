"""The pipeline: open the job, explain part after part, and merge the parts into one file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..device import device_name, page_locked
from ..errors import StoreError
from ..job.config import Job, to_yaml
from ..job.identity import identity
from ..samples import Batch
from ..store import (
    DamagedPartsError,
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
from .opening import open_session
from .parts import row_engines
from .prefetch import Writer, read_ahead
from .provenance.code import code_of
from .provenance.inputs import CheckedMemo, WatchedInputs, stamps_of
from .reuse import Reuse, explain_part, taken_over
from .session import Session
from .settling.plan import settled_plan
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
        reused: what was taken over of the result that the job extends; empty if nothing was.
    """

    output: str
    rows: int
    computed: int
    parts_missing: int
    merged: bool
    seconds: float
    reused: str = ""


def run_job(
    job: Job,
    *,
    shard: Shard | None = None,
    join: bool = False,
    overwrite: bool = False,
    accept_changes: bool = False,
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
        accept_changes: go on with parts, or take a result, that other code has computed; the result says so.
        progress: told how far it is.
        stage: told how far the study of the whole dataset is.
        interrupt: called before every device call; raises `Interrupted` to stop.
        command_line: noted in the result.

    Raises:
        XattrError: with a message for the user and an exit code.
    """
    check_writable(job.output.path)
    started, stamps = time.time(), stamps_of(job)
    with ExitStack() as stack:
        session = stack.enter_context(open_session(job, interrupt=interrupt))
        manifest = _manifest(session, started, command_line)
        inputs = WatchedInputs.of(job, session.samples, stamps)
        reuse = stack.enter_context(taken_over(session, manifest, overwrite=overwrite))
        if reuse is None and finished_output(
            job.output.path, manifest, overwrite=overwrite, accept_changes=accept_changes
        ):
            discard_leftovers(job.output.path)
            return RunReport(str(job.output.path), session.parts.rows, 0, 0, True, 0.0)
        session = reuse.only_new(session) if reuse is not None and reuse.is_whole else session
        _tell(session)
        with _parts(session, manifest, shard, overwrite=overwrite, accept_changes=accept_changes) as parts:
            session = session.following(parts.manifest.plan)
            began = time.time()
            session = _study(session, parts, shard, stage, inputs)
            work = _Work.of(session, parts, shard, join)
            computed = _compute(session, parts, work, progress, inputs, reuse)
            merges = shard is None or (join and 1 in shard.indices)
            if join and merges:
                _wait_for_others(parts, interrupt)
                progress(work.total, work.total)
            seconds = time.time() - began
            missing = len(parts.absent())
            if merges:
                computed += _merge_repairing(session, parts, progress, stage, inputs, reuse)
            told = str(reuse or "")
            return RunReport(str(job.output.path), session.parts.rows, computed, missing, merges, seconds, told)


def _tell(session: Session) -> None:
    """Say what was noticed of data and network before the start."""
    for note in (*session.samples.notes, *session.probe.notes):
        _LOG.warning("%s", note)


def _parts(
    session: Session, manifest: Manifest, shard: Shard | None, *, overwrite: bool, accept_changes: bool
) -> PartSet:
    """The parts of a job, begun or gone on with."""
    output = session.job.output
    manifest = replace(manifest, plan={**manifest.plan, **_execution(session, manifest)})
    return PartSet.open(
        output.path,
        manifest,
        compression=output.compression,
        overwrite=overwrite and not _is_begun(output.path, manifest),
        shard=shard,
        accept_changes=accept_changes,
    )


def _merge_repairing(
    session: Session, parts: PartSet, progress: Progress, stage: Stage, inputs: WatchedInputs, reuse: Reuse | None
) -> int:
    """Merge; damaged parts are computed again first. Returns how many rows that were."""
    keep_parts = session.job.output.keep_parts
    try:
        _merge(parts, keep_parts=keep_parts)
        return 0
    except DamagedPartsError:
        session = _study(session, parts, None, stage, inputs)
        computed = _compute(session, parts, _Work.of(session, parts, None, False), progress, inputs, reuse)
        _merge(parts, keep_parts=keep_parts)
        return computed


def _is_begun(output: Path, manifest: Manifest) -> bool:
    """Whether there are parts of this very job, begun after the result at `output` was finished."""
    try:
        parts = PartSet.existing(output)
    except StoreError:
        return False
    begun = (parts.folder / MANIFEST).stat().st_mtime_ns
    is_younger = not output.exists() or begun > output.stat().st_mtime_ns
    changed = parts.manifest.changes(manifest) or parts.manifest.code_changes(manifest)
    return is_younger and not changed


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


def _study(session: Session, parts: PartSet, shard: Shard | None, stage: Stage, inputs: WatchedInputs) -> Session:
    """Compute the parts of population engines; the session with what the rows need of them."""
    effects, explaining = {}, row_engines(session.job)
    missing = {*parts.missing(shard)}
    for number, label in session.parts.population_parts.items():
        # several shards may need it for their rows; whoever comes first computes it, the same for all
        needed = label in explaining
        if number in missing or (needed and parts.is_missing(number)):
            with inputs.true_reason():
                studied = study_dataset(session, label, memo=CheckedMemo(parts, inputs), stage=stage)
            inputs.refuse_changes()
            parts.write(number, *studied)
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
        absent = parts.absent() if join else ()
        others = [number for number in {*absent} - {*mine} if number < session.parts.row_parts]
        return cls(mine, others, sum(_length(session.parts.part(number)) for number in [*mine, *others]))


def _wait_for_others(parts: PartSet, interrupt: Callable[[], None]) -> None:
    while parts.absent():
        interrupt()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _compute(
    session: Session, parts: PartSet, work: _Work, progress: Progress, inputs: WatchedInputs, reuse: Reuse | None
) -> int:
    """Compute and write the parts of this process; how many rows that were."""
    done = shown = 0

    def tell() -> None:
        nonlocal shown
        owed = {*work.others} & {*parts.absent()} if work.others else set()
        elsewhere = sum(_length(session.parts.part(number)) for number in {*work.others} - owed)
        shown = max(shown, done + elsewhere)
        progress(shown, work.total)

    def tell_within(rows: float) -> None:
        """Rows of the part at work; what is not on disk yet never makes the whole complete."""
        nonlocal shown
        now = min(done + int(rows), work.total - 1)
        if now > shown:
            shown = now
            progress(shown, work.total)

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
    with inputs.true_reason(), Writer[int].opened(parts.write, is_durable) as writer:
        for number, batch in batches:
            rows = session.parts.part(number)
            if reuse is None:
                explained = explain_rows(session, rows, batch=batch, told=tell_within)
            else:
                explained = explain_part(session, rows, batch, reuse, told=tell_within)
            inputs.refuse_changes(*session.parts.samples_of(rows))
            writer.put(number, *explained)
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
        code=code_of(session.job, session.model.module),
    )


def _execution(session: Session, asked: Manifest) -> dict[str, Any]:
    """How the network is run and paths are integrated: as parts of this very job say, or as is settled now."""
    try:
        stored = PartSet.existing(session.job.output.path).manifest
    except StoreError:
        return settled_plan(session)
    if stored.changes(asked) or "execution" not in stored.plan:
        return settled_plan(session)
    settled = ("batch_rows", "execution", "integration")
    return {key: value for key, value in stored.plan.items() if key.startswith(settled)}


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
