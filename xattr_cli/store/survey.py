"""The survey: a look into every part before the merge, to know the shape of the result and that all fits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import StoreError
from .columns import AXIS, STRINGS, Axis, ResultColumn
from .durable import reason

__all__ = [
    "CODE_CHANGES",
    "LAYOUT",
    "REPAIR",
    "Entry",
    "Survey",
    "datasets",
    "entries_of",
    "layout_of",
    "open_part",
    "reading",
    "survey",
]

CODE_CHANGES = "code_changes"
"""Attribute of a part: how the code that computed it differs from the first; of a result: of which parts."""

LAYOUT = "layout"
"""Root attribute of a part: what its datasets are, lest thousands of parts have each of theirs looked into."""

REPAIR = "Delete it and run the same command again, which computes only this part again."
"""What to do about a part that cannot be merged."""

_LABELS = "DIMENSION_LABELS"
_BOOKKEEPING = {AXIS, _LABELS}


@dataclass(frozen=True)
class Entry:
    """One dataset: of a part, or of the parts so far taken together."""

    axis: Axis
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    axes: tuple[str, ...]
    compression: str | None

    @classmethod
    def of(cls, dataset: h5py.Dataset, attributes: Mapping[str, Any]) -> Entry:
        """The entry of a part's dataset that has these attributes."""
        axes = tuple(dimension.label for dimension in dataset.dims) if _LABELS in attributes else ()
        return cls(attributes[AXIS], dataset.dtype, dataset.shape, axes, dataset.compression)

    def fits(self, other: Entry) -> bool:
        """Whether both can be in one dataset."""
        if self.axis == "single":
            return False
        skip = 0 if self.axis == "constant" else 1
        same = (self.axis, self.dtype, self.axes) == (other.axis, other.dtype, other.axes)
        return same and self.shape[skip:] == other.shape[skip:]

    def followed_by(self, other: Entry) -> Entry:
        """Both, one after the other."""
        if self.axis == "constant":
            return self
        shape = (self.shape[0] + other.shape[0], *self.shape[1:])
        return replace(self, shape=shape, compression=self.compression or other.compression)


def layout_of(columns: Mapping[str, ResultColumn], compression: Mapping[str, str | None]) -> str:
    """The layout of a part with these columns, by path; `compression` says how each of them is stored."""
    layout = {}
    for name, column in columns.items():
        dtype = "text" if column.dtype is STRINGS else column.dtype.str
        layout[name] = (column.axis, dtype, column.values.shape, column.axes, compression[name])
    return json.dumps(layout)


@lru_cache(256)
def _parsed(layout: str) -> Mapping[str, Entry]:
    entries = {}
    for name, (axis, dtype, shape, axes, compression) in json.loads(layout).items():
        kind = STRINGS if dtype == "text" else np.dtype(dtype)
        entries[name] = Entry(axis, kind, tuple(shape), tuple(axes), compression)
    return entries


def entries_of(part: h5py.File) -> Mapping[str, Entry]:
    """The datasets of a part, by path: as its layout says, or as they are looked at one by one."""
    layout = part.attrs.get(LAYOUT)
    if layout is not None:
        return _parsed(layout)
    return {name: Entry.of(dataset, dict(dataset.attrs)) for name, dataset in datasets(part).items()}


@dataclass(frozen=True)
class Survey:
    """What the parts hold together.

    Attributes:
        entries: every dataset of the result, by path in the file.
        attributes: of groups and datasets, by path; those of the first part that has them.
        code_changes: how code differs from the first → the parts that it has computed.
    """

    entries: dict[str, Entry]
    attributes: dict[str, dict[str, Any]]
    code_changes: dict[str, list[int]]


def survey(parts: Sequence[Path], rows: int) -> Survey:
    """Look into every part.

    A "samples" dataset may be absent from some parts: they store no inputs. Parts with "single" datasets
    hold what a whole dataset says, and no rows.

    Arguments:
        parts: files of all parts, in order.
        rows: what the "rows" datasets of all parts must sum up to.

    Raises:
        StoreError: a part cannot be read, or does not fit the others.
    """
    total: dict[str, Entry] = {}
    seen = Survey(total, {}, {})
    first = None
    alike: list[Mapping[str, Entry]] = []  # entries that were seen before, so that nothing new is to be found
    for number, path in enumerate(parts):
        with open_part(path) as part, reading(path):
            here = entries_of(part)
            if CODE_CHANGES in part.attrs:
                seen.code_changes.setdefault(str(part.attrs[CODE_CHANGES]), []).append(number)
            if not any(here is entries for entries in alike):
                _collect_attributes(part, seen.attributes)
                alike = [*alike, here][-2:]
        if any(entry.axis != "single" for entry in here.values()):
            first = first or path
            if path != first:
                _refuse_odd(path, first, total, here)
        for name, entry in here.items():
            total[name] = total[name].followed_by(entry) if name in total else entry
    for name, entry in total.items():
        if entry.axis == "rows" and entry.shape[0] != rows:
            raise StoreError(
                f"{parts[0].parent}: the parts have {entry.shape[0]} rows of {name} together, not {rows}. "
                "Start again with --overwrite."
            )
    return seen


def _collect_attributes(part: h5py.File, attributes: dict[str, dict[str, Any]]) -> None:
    """Add the attributes of whatever is not among `attributes` yet."""

    def visit(name: str, item: h5py.HLObject) -> None:
        if name not in attributes:
            own = dict(item.attrs)
            attributes[name] = {key: value for key, value in own.items() if key not in _BOOKKEEPING}

    part.visititems(visit)


def _refuse_odd(path: Path, first: Path, total: dict[str, Entry], entries: Mapping[str, Entry]) -> None:
    for name in sorted({*total, *entries}):
        if name in total and name in entries:
            if not total[name].fits(entries[name]):
                raise StoreError(f"{path}: {name} has another shape, type or axis than before. {REPAIR}")
        elif (total.get(name) or entries[name]).axis != "samples":
            odd = path if name in entries else first
            raise StoreError(f"{path}: {name} is only in {odd.name} and its like. {REPAIR}")


# --- reading ------------------------------------------------------------------------------------


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what HDF5 raises about a damaged part into a StoreError that names it."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read: {reason(error)}. {REPAIR}") from error


def open_part(path: Path) -> h5py.File:
    """A finished part, for reading; nobody writes to it any more, so it needs no lock."""
    with reading(path):
        return h5py.File(path, "r", locking=False)


def datasets(part: h5py.Group) -> dict[str, h5py.Dataset]:
    """All datasets of a file or group by path, in the order of their names."""
    by_path: dict[str, h5py.Dataset] = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            by_path[name] = item

    part.visititems(visit)
    return by_path
