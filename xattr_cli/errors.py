"""Errors that a user can act on; each kind knows the exit code it stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

__all__ = [
    "DataError",
    "ExitCode",
    "Interrupted",
    "JobError",
    "ModelError",
    "ResultError",
    "RunError",
    "StoreError",
    "XattrError",
    "nearest",
    "one_line",
    "reported",
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


class ResultError(StoreError):
    """A file that was given as a result is none, or is broken."""

    exit_code = ExitCode.USAGE


class Interrupted(XattrError):  # noqa: N818 - not a fault
    """A signal asked the run to stop; the finished parts are kept."""

    exit_code = ExitCode.RESUMABLE


_MOST_LISTED = 60


def nearest(word: object, allowed: Iterable[object]) -> str | None:
    """The allowed word most like `word`, or None if none is alike."""
    names = [str(name) for name in allowed]
    lowered = {name.lower(): name for name in names}
    found = difflib.get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def suggestion(word: object, allowed: Iterable[object], meant: str | None = None) -> str:
    """The tail of an error message: what is allowed, and what was probably meant.

    Arguments:
        word: what was given.
        allowed: what may be.
        meant: which of these it stands for, if that is known; None takes the one most alike.
    """
    names = [str(name) for name in allowed]
    more = f" and {len(names) - _MOST_LISTED:,} more" if len(names) > _MOST_LISTED else ""
    listed = f" Allowed: {', '.join(names[:_MOST_LISTED])}{more}." if names else ""
    match = meant or nearest(word, names)
    return f"{listed} Did you mean {match!r}?" if match else listed


_LONGEST_REASON = 300


def one_line(error: BaseException) -> str:
    """What an exception says, in one line: its kind, and the first line of its text."""
    kind, text = type(error).__name__, str(error).strip().partition("\n")[0].strip()
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        kind = "not enough memory"
    told = f"{kind}: {text}" if text else kind
    return told if len(told) <= _LONGEST_REASON else f"{told[:_LONGEST_REASON]}…"


@contextmanager
def reported(what: str, kind: type[XattrError]) -> Iterator[None]:
    """Whatever a library raises within becomes an error of that kind: damaged files raise what their bytes mean.

    Arguments:
        what: begins the message: the key or the file, and what is wrong with it.
        kind: of the error; one of these kinds passes unchanged.

    Example:
        >>> with reported("data.npz is damaged", DataError):
        ...     int("x")
        Traceback (most recent call last):
        xattr_cli.errors.DataError: data.npz is damaged (ValueError: invalid literal for int() with base 10: 'x').
    """
    try:
        yield
    except XattrError:
        raise
    except Exception as error:  # RecursionError and MemoryError are among them
        raise kind(f"{what} ({one_line(error)}).") from error
