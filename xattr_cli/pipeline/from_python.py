"""The pipeline for whoever calls it from Python: what the commands do, with jobs as paths, mappings or objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import JobError
from ..job.config import Job, check_job, load_job
from ..store.results.reader import Results
from .planning import Plan, plan_job
from .run import Progress, RunReport, run_job

__all__ = ["as_job", "open_results", "plan", "run"]


def run(
    job: str | Path | Mapping[str, Any] | Job,
    *,
    overrides: Sequence[str] = (),
    overwrite: bool = False,
    accept_changes: bool = False,
    progress: Progress = lambda done, total: None,
) -> RunReport:
    """Explain every row of a job into one HDF5 file; begun before, it goes on where it stopped.

    Arguments:
        job: path of a YAML file, the same as a mapping, or a checked job. Relative paths in a file start at
            its folder, those in a mapping at the working folder.
        overrides: `dotted.key=value` texts, of a job that is a file.
        overwrite: replace a result, or parts of another job, at the same path.
        accept_changes: go on with what other code, or another version of a package, has computed; the result
            says which parts.
        progress: called with the rows done and the rows to do, at the start, after every part and within it.

    Returns:
        How the run went; its `output` is the path for `open_results`.

    Raises:
        XattrError: with a message that names key or file, value, and what is allowed.
    """
    return run_job(as_job(job, overrides), overwrite=overwrite, accept_changes=accept_changes, progress=progress)


def plan(job: str | Path | Mapping[str, Any] | Job, *, overrides: Sequence[str] = ()) -> Plan:
    """What a job would take: rows, time, memory and evaluations, from a probe of a few rows; writes nothing.

    Arguments:
        job, overrides: as for `run`.

    Raises:
        XattrError: with a message that names key or file, value, and what is allowed.
    """
    return plan_job(as_job(job, overrides))


def open_results(path: str | Path) -> Results:
    """A finished result file, read lazily; use it in a `with` statement, or close it.

    Raises:
        StoreError: no such file, not finished, not HDF5, truncated, or of another format.
    """
    return Results.open(path)


def as_job(given: str | Path | Mapping[str, Any] | Job, overrides: Sequence[str] = ()) -> Job:
    """The checked job that a path, a mapping or a job stands for.

    Raises:
        JobError: the file cannot be read, a key is wrong, or overrides are given with no file to override.
    """
    if isinstance(given, str | Path):
        return load_job(given, overrides)
    if overrides:
        raise JobError(f"overrides {list(overrides)}: go with a job file; change the mapping or the job itself.")
    return given if isinstance(given, Job) else check_job(dict(given), folder=Path.cwd())
