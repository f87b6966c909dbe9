"""Files and folders that a dataset names: found, or an error that names their like."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, nearest
from ..importing import import_optional
from ..untrusted.files import oddity

__all__ = ["combined", "existing_file", "existing_folder", "optional", "to_numpy"]


def existing_file(path: Path, key: str) -> Path:
    """`path`, if it is a file.

    Raises:
        DataError: it is missing or a folder; names the most alike file of its folder.
    """
    if path.is_dir():
        raise DataError(f"{key}: {path} is a folder; a file is needed.")
    if odd := oddity(path):
        raise DataError(f"{key}: {path} is {odd}; a file is needed.")
    return _existing(path, key, "file")


def existing_folder(path: Path, key: str) -> Path:
    """`path`, if it is a folder.

    Raises:
        DataError: it is missing or a file; names the most alike neighbour.
    """
    if path.is_file():
        raise DataError(f"{key}: {path} is a file; a folder is needed.")
    return _existing(path, key, "folder")


def combined(hashes: Iterable[str]) -> str:
    """One hash of several; that of a single one is itself."""
    parts = list(hashes)
    return parts[0] if len(parts) == 1 else hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _existing(path: Path, key: str, noun: str) -> Path:
    if path.exists():
        return path
    if not path.parent.is_dir():
        raise DataError(f"{key}: {path}: no such {noun}; the folder {path.parent} does not exist either.")
    match = nearest(path.name, (other.name for other in path.parent.iterdir()))
    hint = f" Did you mean {str(path.parent / match)!r}?" if match else ""
    raise DataError(f"{key}: {path}: no such {noun}.{hint}")


def to_numpy(value: Any, key: str) -> np.ndarray:
    """(*shape) `value` as a numpy array; a tensor of any device comes without its graph.

    Raises:
        DataError: it is no array of numbers, or a ragged one. `key` begins the message.
    """
    try:
        tensor = value.detach().cpu() if hasattr(value, "detach") else value
        array = np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{key}: {type(value).__name__} does not become an array: {error}") from error
    if array.dtype.kind not in "buifU":
        raise DataError(f"{key}: {type(value).__name__} becomes an array of {array.dtype}; numbers are needed.")
    return array


optional = partial(import_optional, error=DataError)
"""Imports a module that not everybody has, or raises DataError; see `importing.import_optional`."""
