"""A program that reads one HDF5 file for another process, which outlives it: `python -m …hdf5_reader FILE`.

HDF5 does not survive all that may be in a file: of 300 broken ones, some crash it, ask for terabytes or never end.
A line of JSON on standard input asks. The answer on standard output is JSON, after its length in eight bytes, and
before the bytes of an array.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ...errors import DataError, one_line
from ...untrusted.archives import is_bomb
from ...untrusted.stuck import Watchdog
from .hdf5 import source_files

__all__ = ["main"]

_SPARE = 2**30
"""Bytes of address space beyond what is asked for: HDF5's caches, the index of the chunks."""

Reply = tuple[dict[str, Any], bytes]
"""A mapping, and the bytes of an array that it describes."""


class _Reader:
    """The open file, and the datasets that were asked for."""

    def __init__(self, path: str) -> None:
        self._file = h5py.File(path, "r", locking=False)
        self._datasets: dict[str, h5py.Dataset] = {}

    def names(self) -> Reply:
        found: list[str] = []
        self._file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        return {"names": sorted(found)}, b""

    def describe(self, name: str, key: str) -> Reply:
        where = f"{key}: {self._file.filename}, array {name!r}"
        for spelling in (name, name.replace(".", "/")):
            item = self._file.get(spelling)
            if isinstance(item, h5py.Dataset):
                if item.shape is None:
                    raise DataError(f"{where} is an empty dataspace.")
                sources = [str(path) for path in source_files(item, key)]
                _refuse_bombs(item, where)
                self._datasets[name] = item
                return {"shape": list(item.shape), "dtype": _described(item.dtype), "sources": sources}, b""
        return {"unknown": True}, b""

    def read(self, name: str, start: int, stop: int) -> Reply:
        data = self._datasets[name]
        rows = data[start:stop] if data.shape else data[()]
        if not data.dtype.hasobject:
            values = np.asarray(rows, order="C")
            return {"shape": list(values.shape), "bytes": values.nbytes}, values.tobytes()
        texts = [bytes(value) for value in np.asarray(rows).ravel().tolist()]
        lengths = [len(text) for text in texts]
        return {"shape": list(rows.shape), "lengths": lengths, "bytes": sum(lengths)}, b"".join(texts)


def _described(dtype: np.dtype[Any]) -> str:
    """A type as numpy reads it; of records only the size, and objects, which texts are."""
    if dtype.hasobject:
        return "O"
    return dtype.str if dtype.fields is None else f"V{dtype.itemsize}"


def _refuse_bombs(data: h5py.Dataset, where: str) -> None:
    """Refuse what nobody has written: HDF5 fills it in, and a chunk of zeros takes next to nothing."""
    if data.is_virtual or data.external:
        return
    stored, chunk = data.id.get_storage_size(), int(np.prod(data.chunks or (0,))) * data.dtype.itemsize
    if is_bomb(max(data.nbytes, chunk), stored):
        raise DataError(
            f"{where} takes {max(data.nbytes, chunk):,} bytes, of which the file stores {stored:,}: it was never "
            "written, or is a decompression bomb. Save it uncompressed if it is not."
        )


def _allow(size: int) -> None:
    """Let this process have as much memory as a reply of that size takes, and no more."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = mapped + _SPARE + 3 * size
    resource.setrlimit(resource.RLIMIT_AS, (wanted if most == resource.RLIM_INFINITY else min(wanted, most), most))


def _answer(reader: _Reader, what: str, asked: dict[str, Any]) -> Reply:
    if what == "names":
        return reader.names()
    return reader.describe(**asked) if what == "describe" else reader.read(**asked)


def main() -> None:
    """Answer until nobody asks any more."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # whoever asks hears them, and ends
    reader: _Reader | None = None
    path = Path(sys.argv[1])
    watchdog = Watchdog(path.stat().st_size)
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        try:
            size = asked.pop("size", 0)
            watchdog.allow(path.stat().st_size + size)
            if sys.platform == "linux":
                _allow(size)
            reader = reader or _Reader(sys.argv[1])
            reply, content = _answer(reader, asked.pop("what"), asked)
        except DataError as error:
            reply, content = {"error": str(error)}, b""
        except Exception as error:
            reply, content = {"damaged": one_line(error)}, b""
        head = json.dumps(reply).encode()
        for piece in (len(head).to_bytes(8, "little"), head, content):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
