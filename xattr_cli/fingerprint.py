"""Hashes that say whether a checkpoint or a dataset is still the one a part was computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

__all__ = ["fingerprint_arrays", "fingerprint_file", "fingerprint_files"]

_WHOLE_UP_TO = 256 * 2**20
_BLOCK = 2**20
_BLOCKS = 64


def fingerprint_file(path: Path) -> str:
    """SHA-256 of a file: of all of it up to 256 MiB, else of its size and 64 blocks spread over it.

    Reading a 100 GB dataset to hash it would cost minutes before the first row of every resume.
    """
    digest = hashlib.sha256()
    size = path.stat().st_size
    digest.update(str(size).encode())
    with path.open("rb") as file:
        if size <= _WHOLE_UP_TO:
            while block := file.read(_BLOCK):
                digest.update(block)
        else:
            for start in np.linspace(0, size - _BLOCK, _BLOCKS).astype(np.int64):
                file.seek(int(start))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def fingerprint_files(folder: Path, paths: Sequence[Path]) -> str:
    """SHA-256 of many files' names below `folder` and sizes, and of the beginnings of 64 of them.

    For folders too large to read twice: a file replaced by another one of the same size may go unnoticed.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.relative_to(folder).as_posix()}:{path.stat().st_size}\n".encode())
    for position in sorted(set(np.linspace(0, len(paths) - 1, _BLOCKS).astype(np.int64).tolist())):
        with paths[position].open("rb") as file:
            digest.update(file.read(_BLOCK))
    return digest.hexdigest()


def fingerprint_arrays(arrays: Iterable[np.ndarray]) -> str:
    """SHA-256 of arrays in memory: dtype, shape and every byte."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
