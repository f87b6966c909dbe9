"""Errors that a user can act on; each kind knows the exit code it stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "DataError",
    "ExitCode",
    "Interrupted",
    "JobError",
    "ModelError",
    "RunError",
    "StoreError",
    "XattrError",
    "nearest",
    "suggestion",
]


class ExitCode:
    """What `xattr-cli` tells the shell, and with it cron, Slurm and make."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INCOMPLETE = 3  # only with --strict: rows were quarantined, are inconsistent or did not converge
    RESUMABLE = 75  # EX_TEMPFAIL: run the same command again to go on


class XattrError(Exception):
    """Base of every error that is reported as one message, without a traceback."""

    exit_code = ExitCode.FAILED


class JobError(XattrError):
    """The job file, an option, or a file that it names is wrong; nothing was computed."""

    exit_code = ExitCode.USAGE


class ModelError(JobError):
    """The model cannot be loaded, or cannot be explained as the job asks."""


class DataError(JobError):
    """The dataset or a baseline cannot be read, or does not fit the model."""


class RunError(XattrError):
    """The computation failed although everything had been checked."""


class StoreError(XattrError):
    """A result file or a part of one cannot be written, read or merged."""


class Interrupted(XattrError):  # noqa: N818 - not a fault
    """A signal asked the run to stop; the finished parts are kept."""

    exit_code = ExitCode.RESUMABLE


def nearest(word: object, allowed: Iterable[object]) -> str | None:
    """The allowed word most like `word`, or None if none is alike."""
    names = [str(name) for name in allowed]
    lowered = {name.lower(): name for name in names}
    found = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def suggestion(word: object, allowed: Iterable[object]) -> str:
    """The tail of an error message: what is allowed, and what was probably meant."""
    names = [str(name) for name in allowed]
    listed = f" Allowed: {', '.join(names)}." if names else ""
    match = nearest(word, names)
    return f"{listed} Did you mean {match!r}?" if match else listed
