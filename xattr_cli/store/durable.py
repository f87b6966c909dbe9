"""Durable files: written beside their place, synced and renamed, so that a crash leaves all or nothing."""

from __future__ import annotations

import os
import re
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
    "make_folder",
    "reason",
    "remove_stale_temporaries",
    "temporary_for",
]

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<host>[^.]+)\.(?P<pid>\d+)\.tmp")


def reason(error: BaseException) -> str:
    """Why an operation failed, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0].strip()


# --- one file -----------------------------------------------------------------------------------


@contextmanager
def durable_file(path: Path) -> Iterator[int]:
    """Descriptor of a temporary file that becomes `path` at the end of the block, if nothing is raised.

    Raises:
        StoreError: an OSError of the block or of the file; the temporary is gone and `path` as it was.
    """
    temporary = temporary_for(path)
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            yield descriptor
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        fsync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {reason(error)}. All parts finished before are kept; "
            "when the cause is removed, the same command goes on from there."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


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
        sink = Sink(descriptor)
        try:
            with h5py.File(sink, "w", libver=_LIBVER, track_order=False) as file:
                yield Hdf5Writer(file, sink, deliver)
        except Exception as error:
            if sink.error is not None:  # HDF5 may stumble over what the sink could not keep
                raise sink.error from error
            raise
        if sink.error is not None:
            raise sink.error
        finish(descriptor)


# --- temporaries --------------------------------------------------------------------------------


def temporary_for(path: Path) -> Path:
    """Where this process writes what shall become `path`: hidden, in the same folder, like no other's."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.tmp")


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
            path.unlink(missing_ok=True)


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
    try:
        if output.exists() and not output.is_file():
            raise JobError(f"output.path: {output} is not a regular file; name the file to write.")
        folder = next(folder for folder in output.absolute().parents if folder.exists())
        temporary = temporary_for(folder / output.name)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise JobError(f"output.path: {output} cannot be written: {_obstacle(output, error)}.") from error


def _obstacle(output: Path, error: OSError) -> str:
    for folder in output.parents:
        if folder.exists() and not folder.is_dir():
            return f"{folder} is not a folder"
    return reason(error)
