"""Progress on standard error: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from tqdm import tqdm

__all__ = ["report_progress"]

SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def report_progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A function that is told the rows done and the rows to do."""
    if quiet:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        with tqdm(unit="row", dynamic_ncols=True, leave=False) as bar:
            yield lambda done, total: _update(bar, done, total)
    else:
        yield _Lines()


def _update(bar: tqdm[Any], done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)


class _Lines:
    """A line at the start, one every half minute, and one at the end."""

    def __init__(self) -> None:
        self._started = self._last = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done in (0, total) or now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            click.echo(self._text(done, total, now - self._started), err=True)

    @staticmethod
    def _text(done: int, total: int, elapsed: float) -> str:
        if total == 0:
            return "nothing left to compute"
        if done == 0:
            return f"{total} rows to compute"
        left = elapsed / done * (total - done)
        tail = f", about {left:.0f} s left" if done < total else ""
        return f"{done}/{total} rows, {elapsed:.0f} s{tail}"
