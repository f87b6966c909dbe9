"""Hashes of contents: whether a file or an array is still the one that a result was computed from.

Every byte is hashed, on all cores. A hash is found again by what its file was like (size, times, inode): in this
process, and for large files in the user's cache folder, so that the shards and resumes of a job read a dataset of
100 GB once.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .errors import DataError

__all__ = [
    "HashedFile",
    "HashedFiles",
    "HashingCost",
    "Stamp",
    "fingerprint_arrays",
    "fingerprint_file",
    "hash_file",
    "hash_files",
    "hashing_cost",
]

_LOG = logging.getLogger(__name__)

_BLOCK = 2**20
_SPAN = 64 * _BLOCK
_DIGEST = hashlib.sha256().digest_size
_CACHED_FROM = 16 * 2**20
_ANNOUNCED_FROM = 8 * 2**30
_GIB = 2**30
_TRIES = 3
_TICK = 50_000_000
"""Nanoseconds within which two changes may bear the same time."""
_COARSE_TICK = 2_000_000_000
"""The same on any file system that a cache may meet."""


class Stamp(NamedTuple):
    """What a file is like from outside; it changes whenever the content does, as far as a file system can tell."""

    size: int
    modified: int
    changed: int
    inode: int

    @classmethod
    def of(cls, path: Path | str) -> Stamp:
        """The stamp of a file as it is now; an OSError if there is none."""
        found = Path(path).stat()
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)

    def is_settled(self, at: int, tick: int) -> bool:
        """Whether a change after the time `at` (nanoseconds) would show, where times have that resolution."""
        return max(self.modified, self.changed) + tick < at


class HashedFile(NamedTuple):
    """A file as it was when it was hashed.

    Attributes:
        path: of the file.
        stamp: what it was like.
        digest: SHA-256 of its bytes; of the SHA-256s of its blocks of 1 MiB, if there are several.
    """

    path: Path
    stamp: Stamp
    digest: str

    def has_changed(self) -> bool:
        """Whether the file holds other bytes by now, or is gone; read again only if it looks different."""
        try:
            return Stamp.of(self.path) != self.stamp and hash_file(self.path).digest != self.digest
        except OSError:
            return True


class HashingCost(NamedTuple):
    """What hashing has taken in this process.

    Attributes:
        read: bytes that were read.
        cached: bytes whose hash was in the user's cache.
        seconds: wall time.
    """

    read: int = 0
    cached: int = 0
    seconds: float = 0.0

    def since(self, before: HashingCost) -> HashingCost:
        """The cost beyond an earlier one."""
        return HashingCost(self.read - before.read, self.cached - before.cached, self.seconds - before.seconds)


class _Hashes:
    """Hashes known by the stamps of their files: of this process, and in the user's cache folder.

    Attributes:
        cost: what they have taken.
    """

    def __init__(self) -> None:
        self.cost = HashingCost()
        self._known: dict[str, HashedFile] = {}
        self._lock = threading.Lock()

    def file(self, path: Path) -> HashedFile:
        """A file with its hash, read if the hash is not known."""
        name = str(path.absolute())
        known = self._known.get(name)
        if known is not None and known.stamp == Stamp.of(name):
            return known
        began, began_at = time.perf_counter(), time.time_ns()
        for _ in range(_TRIES):
            stamp = Stamp.of(name)
            digest = self.recall(name, stamp) or _digest_of_file(name, stamp.size)
            if Stamp.of(name) == stamp:
                break
        else:
            raise DataError(f"{path}: changes while it is read; run again when nothing writes to it any more.")
        found = HashedFile(path, stamp, digest)
        self.spent(read=stamp.size, seconds=time.perf_counter() - began)
        if stamp.is_settled(began_at, _TICK):
            self._known[name] = found
        self.keep(name, stamp, digest, began_at)
        return found

    def spent(self, *, read: int = 0, cached: int = 0, seconds: float = 0.0) -> None:
        """Add to the cost."""
        with self._lock:
            cost = self.cost
            self.cost = HashingCost(cost.read + read, cost.cached + cached, cost.seconds + seconds)

    def recall(self, name: str, stamp: Stamp) -> str | None:
        """The hash that the user's cache has for what bears this name and stamp."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            stored = json.loads(_cache_entry(name).read_text(encoding="utf-8"))
            if stored["stamp"] == list(stamp) and len(stored["digest"]) == 2 * _DIGEST:
                self.spent(read=-stamp.size, cached=stamp.size)
                return str(stored["digest"])
        return None

    def keep(self, name: str, stamp: Stamp, digest: str, began_at: int) -> None:
        """Put a hash into the user's cache, if it took a while and a later change would show."""
        if stamp.size < _CACHED_FROM or not stamp.is_settled(began_at, _COARSE_TICK):
            return
        entry = _cache_entry(name)
        temporary = entry.with_name(f"{entry.name}.{os.getpid()}.tmp")
        with suppress(OSError):  # a cache that cannot be written costs time, and nothing else
            entry.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({"name": name, "stamp": stamp, "digest": digest}), encoding="utf-8")
            temporary.replace(entry)


def _cache_entry(name: str) -> Path:
    """File of the user's cache for what bears a name; XDG says where caches are."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~", ".cache").expanduser()
    return Path(home, "xattr-cli", "hashes", f"{hashlib.sha256(os.fsencode(name)).hexdigest()[:40]}.json")


_HASHES = _Hashes()


# --- files ----------------------------------------------------------------------------------------


def fingerprint_file(path: Path) -> str:
    """SHA-256 of a file's bytes, wherever it lies; of the SHA-256s of its blocks of 1 MiB, if there are several.

    Raises:
        DataError: the file is written to all the while.
    """
    return hash_file(path).digest


def hash_file(path: Path) -> HashedFile:
    """A file with the hash of its bytes.

    Raises:
        DataError: the file is written to all the while.
    """
    return _HASHES.file(path)


def hashing_cost() -> HashingCost:
    """What hashing has taken in this process so far."""
    return _HASHES.cost


def _digest_of_file(name: str, size: int) -> str:
    if size > _ANNOUNCED_FROM:
        _LOG.warning("%s: hashing %.0f GiB; the hash is kept for the next time", name, size / _GIB)
    descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _workers() as pool:
            starts = range(0, max(size, 1), _SPAN)
            spans = pool.map(lambda start: _digests(descriptor, start, min(start + _SPAN, size)), starts)
            return _digest_of_digests(b"".join(spans))
    finally:
        os.close(descriptor)


def _digests(descriptor: int, start: int, stop: int) -> bytes:
    """The SHA-256s of the blocks of a span of a file, one after the other; of nothing, if the file is empty."""
    starts = range(start, max(stop, start + 1), _BLOCK)
    return b"".join(hashlib.sha256(os.pread(descriptor, _BLOCK, each)).digest() for each in starts)


def _digest_of_digests(digests: bytes) -> str:
    return (digests if len(digests) == _DIGEST else hashlib.sha256(digests).digest()).hex()


def _workers() -> ThreadPoolExecutor:
    """A thread per core: hashing lets go of Python's lock."""
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())


# --- folders --------------------------------------------------------------------------------------


class HashedFiles:
    """Many files of a folder as they were when they were hashed.

    Arguments:
        paths: of the files, relative to `folder` in `names`.
        stamps: (files, 4) int64 of them.
        digest: SHA-256 of their names and hashes.
    """

    def __init__(self, paths: Sequence[Path], stamps: np.ndarray, digest: str) -> None:
        self.digest = digest
        self._paths = paths
        self._stamps = stamps

    def changed(self, start: int, stop: int) -> Path | None:
        """The first of some files that does not look as it did; None if all do."""
        for path, stamp in zip(self._paths[start:stop], self._stamps[start:stop], strict=True):
            try:
                if not np.array_equal(Stamp.of(path), stamp):
                    return path
            except OSError:
                return path
        return None


def hash_files(folder: Path, paths: Sequence[Path]) -> HashedFiles:
    """Files with the hash of their names below `folder` and of every byte of theirs.

    The hash is kept for all of them together: it is found again if none looks different.

    Raises:
        DataError: a file is written to all the while.
    """
    began, began_at = time.perf_counter(), time.time_ns()
    names = [path.relative_to(folder).as_posix() for path in paths]
    for _ in range(_TRIES):
        stamps = _stamps(paths)
        listing = f"{folder.absolute()}/*{hashlib.sha256(_lines(names, stamps.tolist())).hexdigest()}"
        together = Stamp(int(stamps[:, 0].sum()), int(stamps[:, 1].max()), int(stamps[:, 2].max()), len(paths))
        digest = _HASHES.recall(listing, together)
        if digest is None:
            with _workers() as pool:
                hashes = [*pool.map(_digest_within_worker, paths)]
            digest = hashlib.sha256(_lines(names, hashes)).hexdigest()
        if np.array_equal(stamps, _stamps(paths)):
            break
    else:
        raise DataError(f"{folder}: changes while it is read; run again when nothing writes to it any more.")
    _HASHES.spent(read=together.size, seconds=time.perf_counter() - began)
    _HASHES.keep(listing, together, digest, began_at)
    return HashedFiles(paths, stamps, digest)


def _stamps(paths: Sequence[Path]) -> np.ndarray:
    """(files, 4) int64."""
    return np.fromiter((value for path in paths for value in Stamp.of(path)), np.int64).reshape(-1, 4)


def _lines(names: Sequence[str], values: Sequence[object]) -> bytes:
    lines = (f"{name}:{value}\n" for name, value in zip(names, values, strict=True))
    return "".join(lines).encode("utf-8", "surrogateescape")


def _digest_within_worker(path: Path) -> str:
    """As `fingerprint_file`, by a thread that is one of many already."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _digest_of_digests(_digests(descriptor, 0, os.fstat(descriptor).st_size))
    finally:
        os.close(descriptor)


# --- arrays ---------------------------------------------------------------------------------------


def fingerprint_arrays(arrays: Iterable[Any]) -> str:
    """SHA-256 of arrays, in memory or anything that is sliced like one: dtype, shape and every byte."""
    began, digest, size = time.perf_counter(), hashlib.sha256(), 0
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        for piece in _pieces(array):
            digest.update(piece)
            size += len(piece)
    _HASHES.spent(read=size, seconds=time.perf_counter() - began)
    return digest.hexdigest()


def _pieces(array: Any) -> Iterator[bytes]:
    """The bytes of an array in C order, read piece by piece: it may be larger than the memory."""
    if not array.shape:
        yield np.asarray(array).tobytes()
        return
    rows = max(1, _BLOCK // max(1, prod(array.shape[1:]) * array.dtype.itemsize))
    for start in range(0, array.shape[0], rows):
        yield np.asarray(array[start : start + rows]).tobytes()
