"""Progress on standard error: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
        with tqdm(unit="row", dynamic_ncols=True, leave=False) as bar:
            yield lambda done, total: _update(bar, done, total)
    else:
        yield _Lines("rows")


@contextmanager
def report_stages(quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A function that is told the label of an engine, and its steps done and to do."""
    if quiet:
        yield lambda label, done, total: None
    elif sys.stderr.isatty():
        with tqdm(unit="step", dynamic_ncols=True, leave=False) as bar:
            yield lambda label, done, total: _update(bar, done, total, label)
    else:
        lines: dict[str, _Lines] = {}
        yield lambda label, done, total: lines.setdefault(label, _Lines(f"steps of {label}"))(done, total)


def _update(bar: tqdm[Any], done: int, total: int, label: str = "") -> None:
    if bar.total != total:
        bar.reset(total)
    if label:
        bar.set_description(label, refresh=False)
    bar.update(done - bar.n)


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
