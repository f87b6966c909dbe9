"""An end for a process that a library keeps to itself, which a broken file may make it do."""

from __future__ import annotations

import atexit
import signal
import sys

__all__ = ["STUCK", "Watchdog"]

STUCK = signal.SIGVTALRM
"""What such a process dies of."""

_SECONDS = 1.0
_BYTES_PER_SECOND = 50 * 2**20
"""Slower than any disk cache and any decompression; a fraction of that of the slowest processor in use."""


class Watchdog:
    """Ends this process once one call of a library has kept the main thread for some seconds of processor time.

    On some damaged files HDF5 goes round in circles, and no handler in Python is called before it comes back: one
    that is called winds up the timer that ends the process. Time in which the process waits, for a disk say, does
    not count.

    Arguments:
        size: bytes of what the library reads, which take it 1 s for every 50 MiB, beside one second for any file.
    """

    def __init__(self, size: int) -> None:
        self.allow(size)
        if sys.platform == "linux":
            signal.signal(STUCK, signal.SIG_DFL)
            signal.signal(signal.SIGPROF, lambda _number, _frame: self._wind_up())
            signal.setitimer(signal.ITIMER_PROF, _SECONDS / 10, _SECONDS / 10)
            # at its end Python takes its handlers away before it takes down what is left, which may be long
            atexit.register(_call_off)

    def allow(self, size: int) -> None:
        """From now on the library may read that many bytes in one call."""
        self._seconds = _SECONDS + size / _BYTES_PER_SECOND
        self._wind_up()

    def _wind_up(self) -> None:
        if sys.platform == "linux":
            signal.setitimer(signal.ITIMER_VIRTUAL, self._seconds)


def _call_off() -> None:
    """Let no timer run any more."""
    for timer in (signal.ITIMER_PROF, signal.ITIMER_VIRTUAL):
        signal.setitimer(timer, 0)
