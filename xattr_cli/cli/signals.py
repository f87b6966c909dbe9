"""Signals that ask a run to stop: finish the device call, drop the part, exit with 75."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import Interrupted

__all__ = ["stop_on_signals"]

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], None]]:
    """While open, SIGTERM, SIGINT and SIGUSR1 make the yielded function raise `Interrupted`.

    A second signal has its usual effect, for whoever cannot wait for the device call to end.
    """
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in STOPPING}

    def remember(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    def interrupt() -> None:
        if received:
            name = signal.Signals(received[0]).name
            raise Interrupted(f"{name}: stopped; finished parts are kept, the same command resumes.")

    for number in STOPPING:
        signal.signal(number, remember)
    try:
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
