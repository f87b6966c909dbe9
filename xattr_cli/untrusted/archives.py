"""Compressed files that unpack to far more than they are: bombs, refused before they go off."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["MOST_SWELLING", "is_bomb", "swelling"]

MOST_SWELLING = 200
"""Times its own size that a compressed file may unpack to; maps, masks and one-hot codes stay below 100."""
HARMLESS = 256 * 2**20
"""Bytes that may be unpacked however small the file is."""
_BLOCK = 2**20

_STREAMS: Mapping[str, Callable[[Path], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def is_bomb(unpacked: int, packed: int, most: int = MOST_SWELLING) -> bool:
    """Whether so many bytes are suspiciously many to come out of so few.

    Example:
        >>> is_bomb(2**30, 2**20), is_bomb(2**30, 2**24), is_bomb(2**20, 2**10)
        (True, False, False)
    """
    return unpacked > HARMLESS and unpacked > most * max(packed, 1)


def swelling(path: Path) -> str | None:
    """Why a compressed file should not be unpacked; None if it may be, or is not compressed.

    Archives say how large their entries are. A .gz, .bz2 or .xz does not; it is unpacked for this, block by
    block, and no further than allowed.

    Arguments:
        path: of a .zip, or of anything that is one (.npz, .pt), or of a compressed stream.
    """
    packed = path.stat().st_size
    stream = _STREAMS.get(path.suffix.lower())
    if stream is not None:
        unpacked = _unpacked(stream(path), max(HARMLESS, MOST_SWELLING * packed))
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    else:
        return None
    if not is_bomb(unpacked, packed):
        return None
    return (
        f"is {packed:,} bytes that unpack to {unpacked:,} or more: a decompression bomb, or nearly all of it is "
        "the same. Save it uncompressed if it is not."
    )


def _unpacked(file: Any, most: int) -> int:
    total = 0
    with file:
        while total <= most and (block := file.read(_BLOCK)):
            total += len(block)
    return total
