"""Signals that ask a command to stop: it drops what is unfinished, and exits with 75 within two seconds."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import ExitCode, Interrupted

__all__ = ["stop_on_signals"]

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
GRACE = 1.5
"""Seconds for the end of a device call, a write or a merge."""


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], None]]:
    """While open, SIGTERM, SIGINT, SIGUSR1 and SIGHUP make the yielded function raise `Interrupted`.

    Where nobody calls it for a second and a half, or when a second signal comes, the process ends with the same
    message and the same exit code on the spot. That loses no more: parts are durable or not there, whatever
    moment the process ends at. A SIGHUP that is ignored, as under nohup, stays so.
    """
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in STOPPING}

    def remember(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    def interrupt() -> None:
        if received:
            raise Interrupted(_message(received[0]))

    with _watched():
        for number, handler in before.items():
            if number != signal.SIGHUP or handler != signal.SIG_IGN:
                signal.signal(number, remember)
        try:
            yield interrupt
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _watched() -> Iterator[None]:
    """A thread hears signals at once, while the main thread may be inside of a long call."""
    incoming, outgoing = os.pipe()
    os.set_blocking(outgoing, False)
    known = signal.set_wakeup_fd(outgoing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(incoming,), name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(known)
        os.close(outgoing)
        watcher.join()
        os.close(incoming)


def _watch(incoming: int) -> None:
    """End the process after the grace, or at the second signal; return when the pipe is closed."""
    first = 0
    while select.select([incoming], [], [], GRACE if first else None)[0]:
        heard = os.read(incoming, 1)
        if not heard:
            return
        if heard[0] not in STOPPING:
            continue
        if first:
            break
        first = heard[0]
    os.write(2, f"Error: {_message(first)}\n".encode())
    os._exit(ExitCode.RESUMABLE)


def _message(number: int) -> str:
    return f"{signal.Signals(number).name}: stopped; finished parts are kept, the same command resumes."
