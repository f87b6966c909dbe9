"""One command in a process of its own, forked from this one, which has imported everything already.

That takes 30 ms instead of 3 s. What the command takes on top of its imports is measured: processor time, and
the growth of its memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xattr_cli.__main__ import main

__all__ = ["Outcome", "run_forked"]

PAGE = os.sysconf("SC_PAGE_SIZE")
HANGS_AFTER = 30.0
"""Seconds of wall time; other processes share the cores."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: exit code; negative for the signal that killed it.
        hung: it was killed after 30 s.
        seconds: of processor time.
        growth: bytes by which its memory grew at most.
        stdout, stderr: what it said.
    """

    code: int
    hung: bool
    seconds: float
    growth: int
    stdout: str
    stderr: str


def run_forked(arguments: Sequence[str], folder: Path) -> Outcome:
    """`xattr-cli ARGUMENTS` in the folder."""
    pid = os.fork()
    if pid == 0:
        _child(arguments, folder)
    hung, status, usage = _wait(pid)
    stdout, stderr = ((folder / name).read_text(errors="replace") for name in ("stdout", "stderr"))
    seconds = usage.ru_utime + usage.ru_stime
    # what the fork shares with this process counts as its own memory
    before = int((folder / "statm").read_text().split()[1]) * PAGE
    growth = max(0, usage.ru_maxrss * 1024 - before)
    return Outcome(os.waitstatus_to_exitcode(status), hung, seconds, growth, stdout, stderr)


def _child(arguments: Sequence[str], folder: Path) -> None:
    code = 1
    try:
        os.chdir(folder)
        os.setpgid(0, 0)
        Path("statm").write_text(Path("/proc/self/statm").read_text())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        sys.argv = ["xattr-cli", *arguments]
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def _wait(pid: int):
    deadline, pause = time.monotonic() + HANGS_AFTER, 0.002
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return False, status, usage
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            return True, status, usage
        time.sleep(pause)
        pause = min(pause * 1.3, 0.02)
