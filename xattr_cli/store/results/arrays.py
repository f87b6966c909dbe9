"""Pieces of an open HDF5 file as arrays, texts and mappings; what is missing or damaged is a `ResultError`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, TypeAlias

import h5py
import numpy as np

from ...errors import ResultError
from ...untrusted.archives import is_bomb
from ...untrusted.yaml_text import parse_yaml
from ..axes import is_only_an_axis

__all__ = [
    "BLOCK_BYTES",
    "RowChoice",
    "dataset",
    "items_in",
    "mapping",
    "names_in",
    "plain",
    "read_any",
    "read_rows",
    "row_blocks",
    "texts",
]

BLOCK_BYTES = 32 * 2**20
"""Of rows that are read and worked on at once."""

_MOST_DEFLATED = 1100

RowChoice: TypeAlias = slice | Sequence[int] | np.ndarray
"""Which rows of an array to read: a slice, or positions in any order."""


def dataset(group: h5py.Group, name: str) -> h5py.Dataset:
    """The dataset `name` of a group.

    Raises:
        ResultError: there is none.
    """
    item = group.get(name)
    if not isinstance(item, h5py.Dataset) or is_only_an_axis(item):
        path = f"{group.name.rstrip('/')}/{name}"
        raise ResultError(f"{group.file.filename}: the dataset {path} is missing; the file is incomplete.")
    _refuse_what_is_not_stored(item)
    return item


def items_in(group: h5py.Group, name: str) -> dict[str, h5py.HLObject]:
    """What lies in the group `name` of a group, by name; empty where there is none, or something else.

    An array of the same name is never iterated: one of 2⁴⁰ numbers, in a file of others, would take for ever.
    """
    inner_group = group.get(name)
    each = {inner: inner_group.get(inner) for inner in inner_group} if isinstance(inner_group, h5py.Group) else {}
    return {inner: item for inner, item in each.items() if item is not None}


def _refuse_what_is_not_stored(data: h5py.Dataset) -> None:
    """A result stores all its values itself; deflate packs at most a thousand into the room of one."""
    fault = "its values lie in other files" if data.is_virtual or data.external else ""
    if data.shape is None:
        fault = "it is empty"
    elif is_bomb(data.nbytes, data.id.get_storage_size(), most=_MOST_DEFLATED):
        fault = f"it takes {data.nbytes:,} bytes, but {data.id.get_storage_size():,} are stored"
    if fault:
        raise ResultError(f"{data.file.filename}: {data.name} is not as xattr-cli writes it: {fault}.")


def read_rows(data: h5py.Dataset, rows: RowChoice) -> np.ndarray:
    """(chosen rows, ...) of a dataset, in the order asked for.

    Raises:
        ResultError: the file is damaged there.
    """
    try:
        if isinstance(rows, slice):
            return np.asarray(data[rows])
        if len(rows) == 0:
            return np.empty((0, *data.shape[1:]), data.dtype)
        # HDF5 selects increasing positions only, each once
        increasing, places = np.unique(np.asarray(rows), return_inverse=True)
        return np.asarray(data[increasing])[places]
    except OSError as error:
        raise ResultError(
            f"{data.file.filename}: {data.name} cannot be read ({error}); the file is damaged: copy or "
            "compute it again."
        ) from error


def row_blocks(data: h5py.Dataset) -> Iterator[tuple[slice, np.ndarray]]:
    """All rows of a dataset, in slices of at most 32 MiB (and at least one row)."""
    step = max(1, BLOCK_BYTES // max(1, data.dtype.itemsize * prod(data.shape[1:])))
    for start in range(0, len(data), step):
        part = slice(start, min(start + step, len(data)))
        yield part, read_rows(data, part)


def read_any(group: h5py.Group, name: str, rows: RowChoice | None = None) -> np.ndarray:
    """(*shape) an array of any number of axes, or the chosen rows of it; texts as an array of str.

    Raises:
        ResultError: there is none of that name, or the file is damaged there.
    """
    data = dataset(group, name)
    if h5py.check_string_dtype(data.dtype) is not None:
        return np.array(texts(group, name))
    return np.asarray(data[()]) if data.ndim == 0 else read_rows(data, slice(None) if rows is None else rows)


def names_in(group: h5py.Group) -> tuple[str, ...]:
    """Paths of all arrays and texts in a group and in the groups within it, without what only names an axis."""
    names: list[str] = []

    def visit(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and not is_only_an_axis(item):
            names.append(name)

    group.visititems(visit)
    return tuple(names)


def texts(group: h5py.Group, name: str) -> tuple[str, ...]:
    """The strings of a dataset; empty if there is none, or only an axis of that name."""
    item = group.get(name)
    is_axis = isinstance(item, h5py.Dataset) and is_only_an_axis(item)
    return tuple(dataset(group, name).asstr()[()]) if name in group and not is_axis else ()


def mapping(text: Any) -> dict[str, Any]:
    """A YAML text as a mapping; empty if it is none."""
    value = (
        parse_yaml(str(plain(text)), "the job or the options in the file", ResultError)
        if text is not None
        else None
    )
    return value if isinstance(value, dict) else {}


def plain(value: Any) -> Any:
    """An attribute as a Python value."""
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value
