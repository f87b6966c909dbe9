"""The file that a model comes from: there, whole, and of the sort that was asked for."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Literal

from ...errors import ModelError, nearest, reported
from ...untrusted.archives import swelling
from ...untrusted.files import oddity

__all__ = ["ArchiveKind", "archive_kind", "check_file"]

ArchiveKind = Literal["checkpoint", "torchscript", "exported"]

_ZIP_START = b"PK\x03\x04"
_LFS_START = b"version https://git-lfs"
_BLOCK = 2**20


def check_file(path: Path, option: str) -> None:
    """Find out before anything is read whether a file can be read at all.

    Archives are read once against their checksums, because torch does not: a flipped bit would be a
    silently different network.

    Arguments:
        path: the file.
        option: dotted key of the job that names it, such as "model.checkpoint".

    Raises:
        ModelError: missing, a folder, empty, a Git LFS pointer, truncated, or with a wrong checksum.
    """
    with reported(f"{option}: {path}: is damaged; copy it again", ModelError):
        fault = _absence(path) or _damage(path)
    if fault:
        raise ModelError(f"{option}: {path}: {fault}")


def archive_kind(path: Path) -> ArchiveKind | None:
    """What `torch.save`, `torch.jit.save` or `torch.export.save` left there; None if it is none of them."""
    if not zipfile.is_zipfile(path):
        return None
    with reported(f"{path}: is a damaged archive; copy it again", ModelError), zipfile.ZipFile(path) as archive:
        entries = {name.rpartition("/")[2] for name in archive.namelist()}
    if "constants.pkl" in entries:
        return "torchscript"
    if entries & {"archive_format", "serialized_exported_program.json"}:
        return "exported"
    return "checkpoint" if "data.pkl" in entries else None


def _absence(path: Path) -> str | None:
    if path.is_dir():
        return "is a folder; name the file in it."
    if odd := oddity(path):
        return f"is {odd}, not a file."
    if path.exists():
        return None
    if not path.parent.is_dir():
        return f"no such file; the folder {path.parent} does not exist either."
    match = nearest(path.name, (other.name for other in path.parent.iterdir() if other.is_file()))
    return "no such file." + (f" Did you mean {str(path.parent / match)!r}?" if match else "")


def _damage(path: Path) -> str | None:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(len(_LFS_START))
    except OSError as error:
        return f"cannot be read: {error.strerror}."
    if not start:
        return "is empty (0 bytes); save or copy it again."
    if start == _LFS_START:
        return "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`."
    if not start.startswith(_ZIP_START):
        return None
    if not zipfile.is_zipfile(path):
        return f"is truncated: its archive breaks off after {size} bytes; save or copy it again."
    bomb = swelling(path)
    if bomb:
        return bomb
    entry = _corrupt_entry(path)
    return f"is damaged: the checksum of its entry {entry!r} is wrong; copy it again." if entry else None


def _corrupt_entry(path: Path) -> str | None:
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.CRC == 0:  # torch.serialization.set_crc32_options(False) writes no checksums
                continue
            try:
                with archive.open(entry) as file:
                    while file.read(_BLOCK):
                        pass
            except (zipfile.BadZipFile, EOFError, zlib.error):
                return entry.filename
    return None
