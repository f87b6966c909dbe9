"""Progress on standard error: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import click
from tqdm import tqdm

__all__ = ["report_progress", "report_stages"]

SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def report_progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A function that is told the rows done and the rows to do."""
    if quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        with closing(_Bar("row")) as bar:
            yield bar
    else:
        yield _Lines("rows")


@contextmanager
def report_stages(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function that is told the label of an engine, and its steps done and to do."""
    if quiet:
        yield lambda label, done, total: None
    elif sys.stderr.isatty():
        with closing(_Bar("step")) as bar:
            yield lambda label, done, total: bar(done, total, label)
    else:
        lines: dict[str, _Lines] = {}
        yield lambda label, done, total: lines.setdefault(label, _Lines(f"steps of {label}"))(done, total)


class _Bar:
    """A bar that is there from the first thing told to the last; none stands idle above another."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar: _Narrow | None = None

    def __call__(self, done: int, total: int, label: str = "") -> None:
        if self._bar is not None and (done >= total or self._bar.total != total):
            self.close()
        if done >= total:
            return
        if self._bar is None:
            self._bar = _Narrow(unit=self._unit, total=total, desc=label or None, miniters=1)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Wipe it from the screen."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


class _Narrow(tqdm):  # type: ignore[type-arg]  # generic in its stubs only
    """A bar that leaves room for the ^C of whoever stops it: a terminal that has to break the line keeps it."""

    def __init__(self, **options: Any) -> None:
        columns, _ = self._size()
        super().__init__(ncols=columns, leave=False, **options)
        self.dynamic_ncols: Any = self._size

    @staticmethod
    def _size(_file: object = None) -> tuple[int, None]:
        return max(os.get_terminal_size(sys.stderr.fileno()).columns - len("^C "), 20), None


class _Lines:
    """A line at the start, one every half minute, and one at the end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._started = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done in (0, total) or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            click.echo(self._text(done, total, now - self._started), err=True)

    def _text(self, done: int, total: int, elapsed: float) -> str:
        if total == 0:
            return "nothing left to compute"
        if done == 0:
            return f"{total} {self._what} to compute"
        left = elapsed / done * (total - done)
        tail = f", about {left:.0f} s left" if done < total else ""
        return f"{done}/{total} {self._what}, {elapsed:.0f} s{tail}"
