"""The parts folder: who may use it, which job it belongs to, and how it goes away."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from contextlib import suppress
from pathlib import Path

from ..errors import StoreError
from .durable import durable_text, fsync_folder, landing, reason, remove_stale_temporaries
from .locking import MERGE_LOCK, SETUP_LOCK, RunLock, waiting_lock
from .manifest import Manifest, read_manifest, refuse_other_code
from .shard import Shard

__all__ = [
    "MANIFEST",
    "MERGE_STATE",
    "claim",
    "discard",
    "discard_leftovers",
    "give_up",
    "memo_path",
    "part_path",
    "parts_folder",
    "parts_there",
    "set_aside",
]

MANIFEST = "manifest.json"

MERGE_STATE = "merge.state"
"""How far a merge is."""

_WORK = ("part-*.h5", "memo-*.h5")
"""What a job has achieved, durably."""

_ASIDE = ".damaged"
_PART = re.compile(r"part-(\d{5,})\.h5")

_LOG = logging.getLogger(__name__)

# in this order: without its manifest nothing is resumed, without its locks nothing is protected
_FILES = (
    MANIFEST,
    f".{MANIFEST}.*.tmp",
    "part-*.h5",
    ".part-*.h5.*.tmp",
    f"part-*.h5{_ASIDE}",
    "memo-*.h5",
    ".memo-*.h5.*.tmp",
    MERGE_STATE,
    f".{MERGE_STATE}.*.tmp",
    "shard-*.lock",
    "run.lock",
    MERGE_LOCK,
    SETUP_LOCK,
)


def parts_folder(output: Path) -> Path:
    """Where the parts of the result `output` are kept until they are merged: beside the file, not a link to it."""
    target = landing(output)
    return target.with_name(f"{target.name}.parts")


def part_path(folder: Path, part: int) -> Path:
    """File of a part; parts count from 0."""
    return folder / f"part-{part:05d}.h5"


def parts_there(folder: Path) -> set[int]:
    """Numbers of the parts that lie in a folder, whole or not: a look at its names, not at thousands of files.

    Raises:
        StoreError: the folder cannot be read.
    """
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise StoreError(f"{folder}: cannot be listed: {reason(error)}.") from error
    return {int(match[1]) for name in names if (match := _PART.fullmatch(name))}


def memo_path(folder: Path, label: str, name: str) -> Path:
    """File of a step on the way to a part."""
    digest = hashlib.sha256(f"{label}/{name}".encode()).hexdigest()[:16]
    return folder / f"memo-{digest}.h5"


def set_aside(part: Path) -> None:
    """Let a damaged part count as missing; it lies beside its place until the parts are discarded.

    Raises:
        OSError: the folder cannot be written.
    """
    part.replace(part.with_name(f"{part.name}{_ASIDE}"))
    fsync_folder(part.parent)


def claim(
    output: Path, manifest: Manifest, *, shard: Shard | None, overwrite: bool, accept_changes: bool
) -> tuple[Manifest, RunLock]:
    """Lock the parts folder of `output`, make it if there is none, and see that it is of this job and code.

    Returns:
        The stored manifest, and the lock.

    Raises:
        StoreError: of another job, in use, or not writable.
    """
    folder = parts_folder(output)
    try:
        with waiting_lock(folder, SETUP_LOCK, create=True):
            lock = RunLock.acquire(folder, shard)
            try:
                if overwrite:
                    _make_way(folder, manifest, lock, shard)
                stored = _settle(folder, manifest, lock, accept_changes)
                remove_stale_temporaries(folder)
                target = landing(output)
                remove_stale_temporaries(target.parent, target.name)
            except BaseException:
                lock.release()
                raise
            return stored, lock
    except OSError as error:
        raise StoreError(f"{folder}: cannot be used for the parts: {reason(error)}.") from error


def _settle(folder: Path, manifest: Manifest, lock: RunLock, accept_changes: bool) -> Manifest:
    """The stored manifest: the one that is there, if it is of the same job, else `manifest`.

    A job that ended before anything durable came of it does not stand in the way of another one.
    """
    path = folder / MANIFEST
    stored = read_manifest(path)
    changed = [] if stored is None else stored.changes(manifest)
    other_code = [] if stored is None else stored.code_changes(manifest)
    if stored is None or ((changed or other_code) and not _has_work(folder) and _is_alone(lock)):
        text = manifest.to_json()
        durable_text(path, text)
        return Manifest.from_json(text)
    if changed:
        lines = "".join(f"\n  {line}" for line in changed)
        raise StoreError(
            f"{folder}: holds parts of another job:{lines}\n"
            "Use --overwrite to start again, or choose another output.path."
        )
    if not accept_changes:
        refuse_other_code(other_code, f"{folder}: holds parts that other code has computed")
    return stored


def _has_work(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in _WORK)


def _is_alone(lock: RunLock) -> bool:
    """Whether no other process computes parts; to be asked while the setup lock keeps others from beginning."""
    try:
        with lock.alone():
            return lock.is_kept
    except StoreError:
        return False


def _make_way(folder: Path, manifest: Manifest, lock: RunLock, shard: Shard | None) -> None:
    """Delete what --overwrite computes again; a shard spares the work of its siblings."""
    try:
        stored = read_manifest(folder / MANIFEST)
    except StoreError:
        stored = None
    if (
        shard is not None
        and stored is not None
        and not (stored.changes(manifest) or stored.code_changes(manifest))
    ):
        for part in shard.parts(stored.parts):
            part_path(folder, part).unlink(missing_ok=True)
        return
    with lock.alone():
        for pattern in (MANIFEST, *_WORK):
            _delete(folder, pattern)


def discard(folder: Path) -> None:
    """Delete all that the store has put into the folder, and the folder if nothing else is in it."""
    try:
        with waiting_lock(folder, MERGE_LOCK), waiting_lock(folder, SETUP_LOCK):
            _remove(folder)
    except FileNotFoundError:
        return  # another process did it
    except OSError as error:
        _LOG.warning("%s: cannot be deleted: %s. The result is complete without it.", folder, reason(error))


def give_up(folder: Path, lock: RunLock) -> None:
    """Discard the folder of a job that failed, if nothing durable came of it and no other process needs it.

    Arguments:
        folder: the parts folder.
        lock: that this process holds on it.
    """
    if _has_work(folder):
        return
    with suppress(OSError), waiting_lock(folder, MERGE_LOCK), waiting_lock(folder, SETUP_LOCK):
        if _is_alone(lock) and not _has_work(folder):
            _remove(folder)


def discard_leftovers(output: Path) -> None:
    """Delete the parts that a kill right after the merge left behind, unless a process is using them."""
    folder = parts_folder(output)
    if not folder.is_dir():
        return
    with suppress(StoreError, OSError):
        lock = RunLock.acquire(folder, None)
        discard(folder)
        lock.release()


def _remove(folder: Path) -> None:
    for pattern in _FILES:
        _delete(folder, pattern)
    folder.rmdir()


def _delete(folder: Path, pattern: str) -> None:
    for path in folder.glob(pattern):
        path.unlink(missing_ok=True)
