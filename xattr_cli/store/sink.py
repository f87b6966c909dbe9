"""The sink: a file that HDF5 writes through, which keeps an error to itself until HDF5 has let go.

HDF5 does not survive a failing write. Measured with HDF5 2.0: a full disk under a compressed dataset ends
in a segmentation fault at exit, and every failing close leaves a file open for good. So HDF5 is told that
all is well, and the error is raised afterwards, where Python can handle it.
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

__all__ = ["Sink", "deferred_signals"]


class Sink(io.RawIOBase):
    """A file for reading and writing whose methods raise no OSError; not for text, not for two threads.

    Arguments:
        descriptor: of an open, empty file; stays open when the sink is closed.

    Attributes:
        error: the first error of the file; None as long as everything has been written.
    """

    def __init__(self, descriptor: int) -> None:
        self.error: OSError | None = None
        self._descriptor = descriptor
        self._position = 0
        self._end = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to `offset` bytes from the start, the present position or the end."""
        self._position = offset + (0, self._position, self._end)[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, with zeros where nothing was written."""
        view = memoryview(buffer).cast("B")
        found = b""
        try:
            found = os.pread(self._descriptor, len(view), self._position)
        except OSError as error:
            self.error = self.error or error
        view[:] = found + bytes(len(view) - len(found))
        self._position += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        """Write all of `data`, or nothing once there was an error; returns its length in any case."""
        view = memoryview(data).cast("B")
        if self.error is None:
            try:
                self._write_all(view)
            except OSError as error:
                self.error = error
        self._position += len(view)
        self._end = max(self._end, self._position)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file to `size` bytes."""
        self._end = self._position if size is None else size
        if self.error is None:
            try:
                os.ftruncate(self._descriptor, self._end)
            except OSError as error:
                self.error = error
        return self._end

    def _write_all(self, view: memoryview) -> None:
        position = self._position
        while view:
            written = os.pwrite(self._descriptor, view, position)
            position += written
            view = view[written:]


@contextmanager
def deferred_signals() -> Iterator[Callable[[], None]]:
    """Hold back Python's signal handlers; the end of the block runs them, and so does the yielded function.

    A handler that raised inside the sink's methods would be a failed write to HDF5.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # handlers only ever run in the main thread
        return
    handlers: dict[int, Any] = {n: h for n in signal.valid_signals() if callable(h := signal.getsignal(n))}
    arrived: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        arrived.append(number)

    def deliver() -> None:
        while arrived:
            number = arrived.pop(0)
            handlers[number](number, None)

    with ExitStack() as restore:
        restore.callback(deliver)
        for number, handler in handlers.items():
            restore.callback(signal.signal, number, handler)
            signal.signal(number, remember)
        yield deliver
