"""Durable files: written beside their place, synced and renamed, so that a crash leaves all or nothing."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import h5py

from ..errors import JobError, StoreError
from .sink import Sink, deferred_signals

__all__ = [
    "Hdf5Writer",
    "check_writable",
    "durable_file",
    "durable_hdf5",
    "durable_text",
    "fsync_folder",
    "hdf5_through",
    "landing",
    "make_folder",
    "reason",
    "remove_stale_temporaries",
    "temporary_for",
    "unwritable",
]

_TEMPORARY = re.compile(r"\.(?P<name>.+?)\.(?P<host>[^.]+)\.(?P<pid>\d+)(\.[0-9a-f]{8})?\.tmp")


def reason(error: BaseException) -> str:
    """Why an operation failed, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].strip()


# --- one file -----------------------------------------------------------------------------------


def landing(path: Path) -> Path:
    """Where a file of that name is written: a symbolic link stays, and what it points to is replaced."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def durable_file(path: Path) -> Iterator[int]:
    """Descriptor of a temporary file that becomes `path` at the end of the block, if nothing is raised.

    Raises:
        StoreError: an OSError of the block or of the file; the temporary is gone and `path` as it was.
    """
    target = landing(path)
    temporary = temporary_for(target)
    try:
        descriptor = _opened(temporary)
        try:
            yield descriptor
            os.fsync(descriptor)
            # before it is let go of, so that nobody takes it for the temporary of a dead process
            temporary.replace(target)
        finally:
            os.close(descriptor)
        fsync_folder(target.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> StoreError:
    """What to tell the user about an error in writing `path`."""
    return StoreError(
        f"{path}: cannot be written: {reason(error)}. All parts finished before are kept; "
        "when the cause is removed, the same command goes on from there."
    )


def durable_text(path: Path, text: str) -> None:
    """Write a small text file durably."""
    with durable_file(path) as descriptor, open(descriptor, "w", encoding="utf-8", closefd=False) as file:
        file.write(text)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents durably; an existing one is fine."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- HDF5 ---------------------------------------------------------------------------------------

# every HDF5 since 1.10 reads these files, whichever wrote them
_LIBVER = ("earliest", "v110")


@dataclass(frozen=True)
class Hdf5Writer:
    """An HDF5 file that is being written.

    Attributes:
        file: the open file.
    """

    file: h5py.File
    _sink: Sink = field(repr=False)
    _deliver_signals: Callable[[], None] = field(repr=False)

    def check(self) -> None:
        """Raise what the disk, or a signal handler, had to say since; call it between two writes."""
        if self._sink.error is not None:
            raise self._sink.error
        self._deliver_signals()


@contextmanager
def durable_hdf5(path: Path, finish: Callable[[int], None] = lambda descriptor: None) -> Iterator[Hdf5Writer]:
    """An HDF5 file that becomes `path` at the end of the block, if nothing is raised.

    Arguments:
        path: of the file.
        finish: called with the descriptor of the whole file, before it takes its place.

    Raises:
        StoreError: the disk is full, or anything else the operating system refuses.
    """
    with deferred_signals() as deliver, durable_file(path) as descriptor:
        with hdf5_through(Sink(descriptor), deliver) as writer:
            yield writer
        finish(descriptor)


@contextmanager
def hdf5_through(sink: Sink, deliver_signals: Callable[[], None], *, new: bool = True) -> Iterator[Hdf5Writer]:
    """An HDF5 file that is written through a sink: a new one, or what the sink holds.

    Raises:
        OSError: of the sink, when HDF5 has let go of it.
    """
    try:
        with h5py.File(sink, "w" if new else "r+", libver=_LIBVER, track_order=False) as file:
            yield Hdf5Writer(file, sink, deliver_signals)
    except Exception as error:
        if sink.error is not None:  # HDF5 may stumble over what the sink could not keep
            raise sink.error from error
        raise
    if sink.error is not None:
        raise sink.error


# --- temporaries --------------------------------------------------------------------------------


def temporary_for(path: Path) -> Path:
    """Where this process writes what shall become `path`: hidden, in the same folder, like no other's.

    Containers may share a host name and number their processes alike, so a part of the name is drawn at random.
    """
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}.tmp")


def _opened(temporary: Path) -> int:
    """A new file, locked as long as it is open: what tells others that its writer is alive."""
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # a file system without locks: then nobody deletes it
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):  # deleted as stale before it was locked
            if os.path.samestat(os.fstat(descriptor), temporary.stat()):
                return descriptor
        os.close(descriptor)


def remove_stale_temporaries(folder: Path, name: str | None = None) -> None:
    """Delete what dead processes of this host left behind; of other hosts nobody can tell.

    Arguments:
        folder: where to look.
        name: only temporaries of this file; of any file if None.
    """
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match is None or (name is not None and match["name"] != name):
            continue
        if match["host"] == _host() and not _is_alive(int(match["pid"])):
            _delete_unlocked(path)


def _delete_unlocked(path: Path) -> None:
    """Delete a file that nobody has locked: its process may live in another container of the same host name."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # another user's, or no process id at all
    return True


# --- before anything is computed ----------------------------------------------------------------


def check_writable(output: Path) -> None:
    """Make sure that a result can be left at `output`; creates nothing.

    Raises:
        JobError: it is a folder or a device, something above it is a file, or nothing may be written there.
    """
    target = landing(output)
    try:
        if output.exists() and not output.is_file():
            raise JobError(f"output.path: {output} is not a regular file; name the file to write.")
        folder = next(folder for folder in target.absolute().parents if folder.exists())
        temporary = temporary_for(folder / target.name)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise JobError(f"output.path: {output} cannot be written: {_obstacle(target, error)}.") from error


def _obstacle(output: Path, error: OSError) -> str:
    for folder in output.parents:
        if folder.exists() and not folder.is_dir():
            return f"{folder} is not a folder"
    return reason(error)
