"""Checkpointed files: a long HDF5 file that a killed writer is not begun again for.

HDF5 changes its own structures in place, so a file whose writer was killed can be anything. Here what lay in the
file at the last checkpoint is not touched: changes to it wait in pages in memory, and only what is new, or what
would be written again in the same place, goes to the disk. A checkpoint is a write-ahead log: the file is synced,
then the pages and how far the work is become durable in a file of their own, and then the pages are written home.
Whoever comes after a kill cuts the file where it ended, writes the pages again, and goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import h5py

from .durable import Hdf5Writer, durable_file, fsync_folder, hdf5_through, landing, unwritable
from .sink import Sink, deferred_signals
from .survey import datasets

__all__ = ["Checkpoints", "MergeState", "Progress", "checkpointed_hdf5"]

SECONDS_BETWEEN_CHECKPOINTS = 2.0
_MOST_PENDING_BYTES = 16 * 2**20
_PAGE = 4096

Progress: TypeAlias = tuple[int, int]
"""Rows of a dataset that are in the file, and their checksum."""


@dataclass
class _Checkpoint:
    """How far a file was, and what it takes to make it so again.

    Attributes:
        signature: of what it is made from.
        parts: number of parts that are in it.
        filled: path of a dataset → rows that it has, and their checksum.
        end: bytes of the file.
        raw: (start, stop) in the file of arrays that are filled in place, increasing.
        pages: numbers of the pages that follow the text, in their order.
    """

    signature: str
    parts: int = 0
    filled: dict[str, Progress] = field(default_factory=dict)
    end: int = 0
    raw: list[tuple[int, int]] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)


class MergeState:
    """Where a merge keeps how far it is.

    Arguments:
        path: of the file for it.
        parts: files that are merged; if one of them changes, the merge starts again.
    """

    def __init__(self, path: Path, parts: Sequence[Path]) -> None:
        self.path = path
        described = [(part.name, status.st_size, status.st_mtime_ns) for part in parts if (status := part.stat())]
        self.signature = hashlib.sha256(json.dumps(described).encode()).hexdigest()

    def load(self) -> tuple[_Checkpoint, bytes] | None:
        """The checkpoint of these very parts, and its pages; None if there is none."""
        try:
            text, _, pages = self.path.read_bytes().partition(b"\n")
            found = _Checkpoint(**json.loads(text))
        except (OSError, ValueError, TypeError):
            return None
        is_whole = len(pages) == _PAGE * len(found.pages) and found.signature == self.signature
        return (found, pages) if is_whole else None

    def save(self, checkpoint: _Checkpoint, pages: Iterable[bytearray]) -> None:
        """Keep a checkpoint durably."""
        with durable_file(self.path) as descriptor, open(descriptor, "wb", closefd=False) as file:
            file.write(json.dumps(asdict(checkpoint)).encode() + b"\n")
            file.writelines(pages)

    def forget(self) -> None:
        """Remove it durably."""
        if self.path.exists():
            self.path.unlink()
            fsync_folder(self.path.parent)


class _PagedSink(Sink):
    """A sink that leaves what was in the file at the last checkpoint as it was, until the next one."""

    def __init__(self, descriptor: int, checkpoint: _Checkpoint) -> None:
        super().__init__(descriptor)
        self.pages: dict[int, bytearray] = {}
        self.protect(checkpoint.end, checkpoint.raw)
        self._end = checkpoint.end

    def sync(self) -> None:
        """Make what was written survive a loss of power."""
        os.fsync(self._descriptor)

    @property
    def end(self) -> int:
        """Bytes of the file, as HDF5 sees it."""
        return self._end

    def protect(self, end: int, raw: Sequence[Sequence[int]]) -> None:
        """From now on only what is behind `end` or within one of the `raw` stretches is written at once."""
        self._protected = end
        self._starts, self._stops = [start for start, _ in raw], [stop for _, stop in raw]

    def write_pages(self) -> None:
        """Write what has waited."""
        for number, page in sorted(self.pages.items()):
            os.pwrite(self._descriptor, page, number * _PAGE)
        self.pages.clear()
        os.ftruncate(self._descriptor, self._end)

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, from pages where there are some."""
        position = self._position
        length = super().readinto(buffer)
        view = memoryview(buffer).cast("B")
        for number, first, last in self._pieces(position, length):
            if number in self.pages:
                begin = number * _PAGE
                view[first - position : last - position] = self.pages[number][first - begin : last - begin]
        return length

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file; what is protected is cut at the next checkpoint."""
        wanted = self._position if size is None else size
        if wanted >= self._protected:
            return super().truncate(wanted)
        self._end = wanted
        return wanted

    def _write_all(self, view: memoryview) -> None:
        position = self._position
        is_free = self._is_free(position, len(view))
        if is_free:
            super()._write_all(view)
        if is_free and not self.pages:
            return
        for number, first, last in self._pieces(position, len(view)):
            if not is_free and number not in self.pages:
                page = os.pread(self._descriptor, _PAGE, number * _PAGE)
                self.pages[number] = bytearray(page.ljust(_PAGE, b"\0"))
            if number in self.pages:
                begin = number * _PAGE
                self.pages[number][first - begin : last - begin] = view[first - position : last - position]

    def _is_free(self, position: int, length: int) -> bool:
        if position >= self._protected:
            return True
        at = bisect_right(self._starts, position) - 1
        return at >= 0 and position + length <= self._stops[at]

    @staticmethod
    def _pieces(position: int, length: int) -> Iterator[tuple[int, int, int]]:
        """Pages that a stretch of the file touches: number, first byte, and the byte after the last."""
        for number in range(position // _PAGE, -(-(position + length) // _PAGE)):
            yield number, max(position, number * _PAGE), min(position + length, (number + 1) * _PAGE)


class Checkpoints:
    """How far the file was when it was opened, and the checkpoints from then on.

    Attributes:
        parts: number of parts that were in the file.
        filled: path of a dataset → rows that it had, and their checksum; empty for a new file.
        are_made: whether something was kept that a later merge can go on from.
    """

    def __init__(self, state: MergeState, sink: _PagedSink, saved: _Checkpoint) -> None:
        self.parts, self.filled = saved.parts, saved.filled
        self.are_made = bool(saved.filled)
        self._state, self._sink = state, sink
        self._latest = saved
        self._made_at = time.monotonic()

    def tell(self, writer: Hdf5Writer, parts: int, filled: Callable[[], dict[str, Progress]]) -> None:
        """Say how far the file is; makes a checkpoint every few seconds."""
        is_due = time.monotonic() - self._made_at >= SECONDS_BETWEEN_CHECKPOINTS
        if is_due or len(self._sink.pages) * _PAGE >= _MOST_PENDING_BYTES:
            writer.file.flush()
            writer.check()
            self._keep(parts, filled(), _raw_stretches(writer.file))

    def finish(self) -> None:
        """Bring everything home when the file is closed."""
        if self.are_made:
            self._keep(self._latest.parts, self._latest.filled, self._latest.raw)

    def _keep(self, parts: int, filled: dict[str, Progress], raw: list[tuple[int, int]]) -> None:
        pages = dict(sorted(self._sink.pages.items()))
        self._latest = _Checkpoint(self._state.signature, parts, filled, self._sink.end, raw, [*pages])
        self._sink.sync()
        self._state.save(self._latest, pages.values())
        self.are_made = True
        self._sink.write_pages()
        self._sink.protect(self._latest.end, raw)
        self._made_at = time.monotonic()


def _raw_stretches(file: h5py.File) -> list[tuple[int, int]]:
    """Where in the file the arrays of numbers lie that are filled in place, increasing.

    Texts are references into heaps: written again, HDF5 would free what the old ones refer to, which may never
    have reached the disk.
    """
    filled = [data.id for data in datasets(file).values() if data.chunks is None and data.dtype.kind != "O"]
    starts = [(data.get_offset(), data.get_storage_size()) for data in filled]
    return sorted((start, start + size) for start, size in starts if start is not None)


@contextmanager
def checkpointed_hdf5(path: Path, state: MergeState) -> Iterator[tuple[Hdf5Writer, Checkpoints]]:
    """An HDF5 file that becomes `path` at the end of the block; begun anew, or gone on with from a checkpoint.

    If the block raises, the checkpoints are kept; without one nothing is left. Only one process may do this for
    the same `path` at a time.

    Raises:
        StoreError: the disk is full, or anything else the operating system refuses.
    """
    target = landing(path)
    temporary = target.with_name(f".{target.name}.merge.tmp")
    checkpoints = None
    try:
        saved = _restored(temporary, state)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(descriptor, saved.end)
            sink = _PagedSink(descriptor, saved)
            with deferred_signals() as deliver:
                with hdf5_through(sink, deliver, new=not saved.filled) as writer:
                    checkpoints = Checkpoints(state, sink, saved)
                    yield writer, checkpoints
                checkpoints.finish()
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
        fsync_folder(target.parent)
        state.forget()
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if checkpoints is None or not checkpoints.are_made:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _restored(temporary: Path, state: MergeState) -> _Checkpoint:
    """Make a file what it was at its last checkpoint; where it begins, if there is none."""
    loaded = state.load() if temporary.exists() else None
    if loaded is not None:
        checkpoint, pages = loaded
        with temporary.open("r+b") as file:
            file.truncate(max(checkpoint.end, 0))
            for place, number in enumerate(checkpoint.pages):
                file.seek(number * _PAGE)
                file.write(pages[place * _PAGE : (place + 1) * _PAGE])
            file.truncate(checkpoint.end)
        with suppress(OSError), h5py.File(temporary, "r", locking=False):
            return checkpoint
    state.forget()
    return _Checkpoint(state.signature)
