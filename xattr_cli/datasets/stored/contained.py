"""HDF5 files of others, read by a process of their own: whatever they do to it, this one goes on."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...untrusted.stuck import STUCK

__all__ = ["ContainedArray", "ContainedHdf5"]

PATIENCE = 60.0
"""Seconds for an answer; a read may take a second more for every MiB."""
_BLOCK = 2**20


class ContainedHdf5:
    """An HDF5 file, open in another process; that costs 0.3 s and 60 MB once, and a copy of what is read.

    Arguments:
        path: of the file.
        key: dotted key of the job, which begins every error.

    Raises:
        DataError: of each method: the file is damaged, or has brought HDF5 down.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._where = f"{key}: {path}"
        self._lock = threading.Lock()  # of the threads that read ahead
        searched = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.hdf5_reader", str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": searched, "OMP_NUM_THREADS": "1"},
        )
        self._end_process = weakref.finalize(self, _end_process, self._process)
        self._known = self._names()

    def names(self) -> list[str]:
        """Paths of all datasets, sorted."""
        return self._known

    def array(self, name: str, key: str) -> tuple[ContainedArray, list[Path]] | None:
        """A dataset, and the files that hold its values; None if there is none of that name."""
        reply, _ = self._ask(what="describe", name=name, key=key)
        if "unknown" in reply:
            return None
        array = ContainedArray(self, name, tuple(map(int, reply["shape"])), np.dtype(reply["dtype"]))
        return array, [Path(path) for path in reply["sources"]]

    def read(self, name: str, start: int, stop: int, size: int) -> tuple[dict[str, Any], bytearray]:
        """Shape and bytes of some rows."""
        return self._ask(what="read", name=name, start=start, stop=stop, size=size)

    def close(self) -> None:
        """End the other process."""
        self._end_process()

    def _names(self) -> list[str]:
        try:
            return list(map(str, self._ask(what="names")[0]["names"]))
        except BaseException:
            self.close()
            raise

    def _ask(self, **asked: Any) -> tuple[dict[str, Any], bytearray]:
        with self._lock:
            deadline = time.monotonic() + PATIENCE + asked.get("size", 0) / _BLOCK
            try:
                os.write(self._pipe(self._process.stdin), json.dumps(asked).encode() + b"\n")
                length = int.from_bytes(self._exactly(8, deadline), "little")
                reply = json.loads(self._exactly(length, deadline))
                content = self._exactly(reply.get("bytes", 0), deadline)
            except (OSError, EOFError, ValueError) as error:
                raise DataError(f"{self._where}: is damaged: {self._end(error)}. Copy it again.") from error
        if "error" in reply:
            raise DataError(reply["error"])
        if "damaged" in reply:
            raise DataError(f"{self._where} is damaged or not an HDF5 file: {reply['damaged']}. Copy it again.")
        return reply, content

    def _exactly(self, size: int, deadline: float) -> bytearray:
        pipe, found = self._pipe(self._process.stdout), bytearray()
        while len(found) < size:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            piece = os.read(pipe, min(size - len(found), _BLOCK))
            if not piece:
                raise EOFError
            found += piece
        return found

    @staticmethod
    def _pipe(stream: Any) -> int:
        return int(stream.fileno())

    def _end(self, error: BaseException) -> str:
        """What has become of the other process."""
        if isinstance(error, TimeoutError):
            self._process.kill()
            return f"HDF5 has not read it in {PATIENCE:.0f} s"
        code = self._process.wait()
        killer = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"it has {'kept HDF5 busy without end' if -code == STUCK else 'brought HDF5 down'} ({killer})"


def _end_process(process: subprocess.Popen[bytes]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.kill()
    process.wait()


class ContainedArray:
    """A dataset; slices of its first axis are read when they are asked for."""

    def __init__(self, file: ContainedHdf5, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self._file = file
        self._name = name

    def __getitem__(self, rows: slice) -> np.ndarray:
        """(chosen rows, *shape[1:]) values; texts as bytes."""
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            return np.asarray(self[:][rows])
        return self._values(start, max(start, stop))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """(*shape) all of it."""
        whole = self[:] if self.shape else self._values(0, 1)
        return whole if dtype is None else whole.astype(dtype)

    def _values(self, start: int, stop: int) -> np.ndarray:
        size = (stop - start) * prod(self.shape[1:]) * self.dtype.itemsize
        reply, content = self._file.read(self._name, start, stop, size)
        shape = tuple(reply["shape"])
        if not self.dtype.hasobject:
            return np.frombuffer(content, self.dtype).reshape(shape)
        ends = np.cumsum([0, *reply["lengths"]]).tolist()
        texts = [bytes(content[first:last]) for first, last in pairwise(ends)]
        values = np.empty(len(texts), object)
        values[:] = texts
        return values.reshape(shape)
