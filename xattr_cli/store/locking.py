"""Locks: one process at a time computes a job, or one each of its shards; a killed process holds none."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import StoreError
from .durable import make_folder
from .shard import Shard, shard_lock

__all__ = ["MERGE_LOCK", "SETUP_LOCK", "RunLock", "waiting_lock"]

SETUP_LOCK = "setup.lock"
"""Held while the manifest is read, written or replaced, and while the folder is discarded."""

MERGE_LOCK = "merge.lock"
"""Held while the parts are merged."""

# what flock says on file systems that know no locks; there the user must see to it
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


_CHANCES = 4
"""How often a lock is tried: `status` takes it for a moment to see whether anybody has it."""


class RunLock:
    """The right to compute parts: all of them, or those of one shard.

    A plain run excludes every other one; shards exclude a plain run and their like, not each other.
    """

    def __init__(self, folder: Path, descriptors: list[int | None]) -> None:
        self._folder = folder
        self._descriptors = descriptors

    @classmethod
    def acquire(cls, folder: Path, shard: Shard | None) -> RunLock:
        """Take the lock without waiting.

        Raises:
            StoreError: another process has it; says which.
        """
        lock = cls(folder, [])
        try:
            if shard is None:
                lock._take(folder / "run.lock", fcntl.LOCK_EX, "a run of this job is")
            else:
                lock._take(folder / "run.lock", fcntl.LOCK_SH, "a run of the whole job is")
                for index in shard.indices:
                    path = folder / shard_lock(index, shard.count)
                    lock._take(path, fcntl.LOCK_EX, f"shard {index}/{shard.count} of this job is")
        except BaseException:
            lock.release()
            raise
        return lock

    def _take(self, path: Path, operation: int, whose: str) -> None:
        for chance in reversed(range(_CHANCES)):
            try:
                self._descriptors.append(_lock(path, operation | fcntl.LOCK_NB))
                break
            except BlockingIOError:
                if not chance:
                    raise StoreError(_busy(path, whose)) from None
                time.sleep(0.05)
        holder = f"process {os.getpid()} on {socket.gethostname()}" if operation == fcntl.LOCK_EX else ""
        _sign(self._descriptors[-1], holder)

    @property
    def is_kept(self) -> bool:
        """Whether the file system knows locks, so that others are kept out."""
        return bool(self._descriptors) and None not in self._descriptors

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Exclude the other shards too, for the time of the block.

        Raises:
            StoreError: one of them is at work.
        """
        descriptor = self._descriptors[0]
        if descriptor is None:
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(_busy(self._folder / "run.lock", "another shard is")) from None
        try:
            yield
        finally:
            if len(self._descriptors) > 1:
                fcntl.flock(descriptor, fcntl.LOCK_SH)

    def release(self) -> None:
        """Give the lock back; a second time does nothing."""
        while self._descriptors:
            descriptor = self._descriptors.pop()
            if descriptor is not None:
                os.close(descriptor)

    __del__ = release


@contextmanager
def waiting_lock(folder: Path, name: str, *, create: bool = False) -> Iterator[None]:
    """Wait for a lock on what all processes of a job share, and hold it for the time of the block.

    Arguments:
        folder: the parts folder.
        name: `SETUP_LOCK` or `MERGE_LOCK`; who needs both takes the merge lock first.
        create: make the folder if it is missing.

    Raises:
        FileNotFoundError: there is no folder, or it was discarded while waiting, and not `create`.
    """
    descriptor = _wait(folder / name, create)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _wait(path: Path, create: bool) -> int | None:
    while True:
        if create:
            make_folder(path.parent)
        try:
            return _lock(path, fcntl.LOCK_EX)
        except FileNotFoundError:  # discarded since
            if not create:
                raise


def _lock(path: Path, operation: int) -> int | None:
    """Descriptor that holds the lock while it is open; None where the file system knows no locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, operation)
            is_current = _is_still(descriptor, path)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError) and error.errno in _UNSUPPORTED:
                return None
            raise
        if is_current:
            return descriptor
        os.close(descriptor)


def _is_still(descriptor: int, path: Path) -> bool:
    """Whether the locked file is the one at `path`, not one that was deleted in between."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(descriptor: int | None, holder: str) -> None:
    """Leave word of who holds the lock, for the message that another process gets."""
    if descriptor is not None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)


def _busy(path: Path, whose: str) -> str:
    try:
        holder = path.read_text(encoding="utf-8")
    except OSError:
        holder = ""
    return (
        f"{path.parent}: {whose} at work already{f' ({holder})' if holder else ''}. Wait for it or stop it; "
        "to compute in parallel, give every process its --shard i/N."
    )
