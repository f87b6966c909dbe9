"""Commands that read a result file, which may be broken or hostile: in a process that may fall, in one line."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import ResultError, XattrError, one_line
from ..untrusted.stuck import STUCK, Watchdog
from .reference.completion import engine_labels

__all__ = ["CONTAINED", "EvaluatingCommand", "ReadingCommand", "engines_option"]

CONTAINED = "contained"
"""As the object of click's context: this process does nothing but run one command, and may fork for it."""

Function = TypeVar("Function", bound=Callable[..., Any])

_FALLS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGKILL, STUCK)
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_LEAST_MEMORY, _MEMORY_PER_BYTE = 2 * 2**30, 20
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def engines_option(doing: str) -> Callable[[Function], Function]:
    """The option --engine, of commands that show, or export, the engines of a result."""
    return click.option(
        "--engine",
        "engines",
        multiple=True,
        metavar="LABEL",
        shell_complete=engine_labels,
        help=f"Engine to {doing}; may be repeated; default: all.",
    )


class ReadingCommand(click.Command):
    """A command whose argument `file`, `a` or `files` is a result file, or several.

    From the shell it runs in a forked process of its own, so that a file which crashes HDF5 is one line and
    exit code 2; the fork costs 2 ms, as nothing heavy is imported yet.
    """

    memory_bound = True
    """Whether the process may take no more memory than a file of that size can be worth."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; whatever the file makes a library raise is a `ResultError`."""
        file = _first(ctx.params)
        if ctx.find_root().obj == CONTAINED and hasattr(os, "fork"):
            sys.stdout.flush()
            pid = os.fork()
            if pid:
                ctx.exit(_outcome(pid, file))
            _prepare(file if self.memory_bound else None)
        try:
            return super().invoke(ctx)
        except (XattrError, click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk or the pipe that is written to
            raise ResultError(_fault(file, ctx.info_name or "", error)) from error


def _first(parameters: dict[str, Any]) -> Path:
    """The result file that a command is about, or the first of several."""
    named = next(parameters[name] for name in ("file", "a", "files") if name in parameters)
    return Path(named[0] if isinstance(named, tuple) else named)


class EvaluatingCommand(ReadingCommand):
    """One that runs a network too, which takes what memory it takes."""

    memory_bound = False


def _fault(file: Path, command: str, error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{file}: {command} fails on it ({one_line(error)}; {Path(where.filename).name}, line {where.lineno}). "
        "It is damaged, or not as xattr-cli writes it; if `inspect --verify` finds it right, the fault is ours."
    )


def _prepare(bounded_by: Path | None) -> None:
    """What the forked process does first: end with its parent, and take no more memory than the file is worth."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if bounded_by is None:
        return
    size = bounded_by.stat().st_size if bounded_by.is_file() else 0
    Watchdog(size)
    if size:
        most = _LEAST_MEMORY + _MEMORY_PER_BYTE * size
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard == -1 else min(most, hard), hard))


def _outcome(pid: int, file: Path) -> int:
    """The exit code of the forked process; signals go on to it."""
    for number in _FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _frame: os.kill(pid, number))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code >= 0:
        return code
    if -code not in _FALLS:  # end as it did
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    how = "kept HDF5 busy without end" if -code == STUCK else "brought down the process that read it"
    raise ResultError(
        f"{file}: has {how} ({signal.Signals(-code).name}): it is damaged or hostile, or takes more memory than "
        "there is. Copy or compute it again."
    )
