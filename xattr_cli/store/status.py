"""Status of a job from elsewhere: what is finished, who is at work and how fast, read without disturbing them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import JobError
from .folder import MANIFEST, MERGE_STATE, part_path, parts_folder, parts_there
from .locking import MERGE_LOCK
from .manifest import Manifest, read_manifest
from .results.reader import Results
from .survey import entries_of

__all__ = ["JobStatus", "StatusReader", "Worker", "output_of"]

WINDOW_SECONDS = 900.0
"""How far back the rate looks: long enough for slow parts, short enough to see a job slow down."""

_LOCK = re.compile(r"(?:run|shard-(\d+)-of-(\d+))\.lock")
_STATUSES = ("converged", "not_converged", "quarantined", "inconsistent", "not_judged")


@dataclass(frozen=True)
class Worker:
    """A process at work.

    Attributes:
        shard: such as "3/8"; None if it computes the whole job.
        holder: process and host, as it has signed its lock.
        since: seconds since the epoch.
    """

    shard: str | None
    holder: str
    since: float


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        output: the result file.
        state: "not begun", "running", "stopped", "computed" (all parts are there, and wait to be merged),
            "merging" or "done".
        rows, rows_done: of the whole job, and those of finished parts; None if nothing is known yet.
        parts, parts_done: the same of parts.
        steps_kept: steps on the way to a part that studies the whole dataset.
        workers: processes at work.
        rows_per_second: in the last quarter of an hour; None if nothing was finished in it.
        seconds_left: at this rate; None if it is unknown.
        merged_parts: how many parts a merge had at its last checkpoint.
        engines: label → how many of the rows so far have each status.
    """

    output: str
    state: str
    rows: int | None = None
    rows_done: int | None = None
    parts: int | None = None
    parts_done: int | None = None
    steps_kept: int = 0
    workers: list[Worker] = field(default_factory=list)
    rows_per_second: float | None = None
    seconds_left: float | None = None
    merged_parts: int | None = None
    engines: dict[str, dict[str, int]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it, for `json.dumps`."""
        return asdict(self)


def output_of(path: Path) -> Path | None:
    """The result that a path stands for: a result, begun or finished, or its folder of parts; None for a job file.

    Raises:
        JobError: there is nothing of that name, neither a job.
    """
    if path.name.endswith(".parts") and path.is_dir():
        return path.with_name(path.name.removesuffix(".parts"))
    if parts_folder(path).is_dir():
        return path
    if not path.exists():
        raise JobError(
            f"{path}: there is no such job file, no such result, and no parts of one. Name the job file."
        )
    return path if path.is_file() and h5py.is_hdf5(path) else None


@dataclass(frozen=True)
class _Part:
    rows: int
    finished: float
    statuses: dict[str, Counter[int]]


class StatusReader:
    """Reads the status of a job again and again; finished parts are looked into once.

    Arguments:
        output: the result file.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self._folder = parts_folder(output)
        self._seen: dict[int, _Part] = {}

    def read(self) -> JobStatus:
        """The status now.

        Raises:
            StoreError: the parts or the result cannot be read.
        """
        manifest = read_manifest(self._folder / MANIFEST)
        if manifest is not None:
            return self._of_parts(manifest)
        if self.output.exists():
            return self._of_result()
        workers = _workers(self._folder)
        return JobStatus(str(self.output), "running" if workers else "not begun", workers=workers)

    def _of_parts(self, manifest: Manifest) -> JobStatus:
        there = parts_there(self._folder)
        self._seen = {number: part for number, part in self._seen.items() if number in there}
        for number in sorted(there - self._seen.keys()):
            part = _look_into(part_path(self._folder, number))
            if part is not None:
                self._seen[number] = part
        workers = _workers(self._folder)
        done = sum(part.rows for part in self._seen.values())
        rate = _rate([*self._seen.values()], workers)
        is_merging = _is_held(self._folder / MERGE_LOCK)
        is_whole = len(self._seen) == manifest.parts
        state = "merging" if is_merging else "running" if workers else "computed" if is_whole else "stopped"
        statuses: dict[str, Counter[int]] = {}
        for part in self._seen.values():
            for label, counts in part.statuses.items():
                statuses.setdefault(label, Counter()).update(counts)
        return JobStatus(
            str(self.output),
            state,
            rows=manifest.rows,
            rows_done=done,
            parts=manifest.parts,
            parts_done=len(self._seen),
            steps_kept=sum(1 for _ in self._folder.glob("memo-*.h5")),
            workers=workers,
            rows_per_second=rate,
            seconds_left=(manifest.rows - done) / rate if rate else None,
            merged_parts=_merged_parts(self._folder / MERGE_STATE),
            engines={label: _named(counts) for label, counts in sorted(statuses.items())},
        )

    def _of_result(self) -> JobStatus:
        with Results.open(self.output) as results:
            rows = len(results.rows)
            engines = {label: _named(_counts(engine.status)) for label, engine in results.engines.items()}
        return JobStatus(str(self.output), "done", rows=rows, rows_done=rows, engines=engines)


def _look_into(path: Path) -> _Part | None:
    """What a finished part says; None if it went away, or is damaged and so will be computed again."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            entries = entries_of(file)
            rows = entries["rows/id"].shape[0] if "rows/id" in entries else 0
            columns = [name for name in entries if re.fullmatch(r"engines/[^/]+/status", name)]
            statuses = {name.split("/")[1]: _counts(file[name][()]) for name in columns}
        return _Part(rows, path.stat().st_mtime, statuses)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError):
        return None


def _counts(statuses: np.ndarray) -> Counter[int]:
    return Counter(np.asarray(statuses).tolist())


def _named(counts: Counter[int]) -> dict[str, int]:
    return {name: counts[number] for number, name in enumerate(_STATUSES)}


# --- who is at work -----------------------------------------------------------------------------


def _workers(folder: Path) -> list[Worker]:
    """Processes that hold a lock on the parts; empty too where the file system knows no locks."""
    found = []
    for path in sorted(folder.glob("*.lock"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)]):
        match = _LOCK.fullmatch(path.name)
        if match is None or not _is_held(path):
            continue
        try:
            holder, since = path.read_text(encoding="utf-8"), path.stat().st_mtime
        except (OSError, ValueError):
            continue
        found.append(Worker(f"{match[1]}/{match[2]}" if match[1] else None, holder, since))
    return found


def _is_held(path: Path) -> bool:
    """Whether a process holds the lock for itself; tried for a moment, which those who take it wait out."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _rate(parts: list[_Part], workers: list[Worker]) -> float | None:
    """Rows per second since the processes at work began, or of the last quarter of an hour if that is later."""
    if not workers or not parts:
        return None
    now = max(time.time(), *(part.finished for part in parts))  # the clock of a file server may be ahead
    began = max(min(worker.since for worker in workers), now - WINDOW_SECONDS)
    rows = sum(part.rows for part in parts if part.finished > began)
    return rows / (now - began) if rows and now > began else None


def _merged_parts(state: Path) -> int | None:
    try:
        with state.open("rb") as file:
            return int(json.loads(file.readline())["parts"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
