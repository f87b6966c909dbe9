"""The merge: all parts of a job, copied piece by piece into one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import StoreError
from .axes import name_axes
from .columns import Axis, create_dataset, write_attributes
from .durable import Hdf5Writer, durable_hdf5
from .survey import REPAIR, open_part, reading, survey

__all__ = ["merge_parts"]

_SLAB_BYTES = 16 * 2**20


def merge_parts(parts: Sequence[Path], output: Path, *, rows: int, attributes: Mapping[str, Any]) -> None:
    """Write all parts, in order, into `output`: durably, in constant memory, replacing what was there.

    Attributes of groups and datasets are those of the first part that has them.

    Arguments:
        parts: files of all parts; not empty.
        rows: what the "rows" datasets of all parts must sum up to.
        attributes: root attributes of the result.

    Raises:
        StoreError: a part cannot be read or contradicts another, or `output` cannot be written.
    """
    found = survey(parts, rows)
    with durable_hdf5(output) as writer:
        # kept open, lest a chunk that two parts share is compressed twice
        targets = {
            name: create_dataset(
                writer.file, name, entry.shape, entry.dtype, axes=entry.axes, compression=entry.compression
            )
            for name, entry in sorted(found.entries.items())
        }
        for name, own in found.attributes.items():
            target = targets[name] if name in targets else writer.file.require_group(name)
            write_attributes(target, own)
        filled: Counter[str] = Counter()
        for path, names in zip(parts, found.datasets, strict=True):
            with open_part(path) as part:
                for name in names:
                    axis = found.entries[name].axis
                    filled[name] += _copy(part[name], axis, targets[name], filled[name], path, writer)
        name_axes(writer.file)
        write_attributes(writer.file, attributes)
        writer.check()


def _copy(source: h5py.Dataset, axis: Axis, target: h5py.Dataset, at: int, path: Path, writer: Hdf5Writer) -> int:
    """Copy a dataset of a part to row `at` of the result; returns how many rows that were."""
    if axis in ("constant", "single"):
        _copy_constant(source, target, at, path)
        return 1
    if _chunks_line_up(source, target, at):
        for offset, mask, chunk in _raw_chunks(source, path):
            target.id.write_direct_chunk((at + offset[0], *offset[1:]), chunk, mask)
            writer.check()
    else:
        for start, values in _slabs(source, path):
            target[at + start : at + start + len(values)] = values
            writer.check()
    return len(source)


def _copy_constant(source: h5py.Dataset, target: h5py.Dataset, copies: int, path: Path) -> None:
    with reading(path):
        values = source[()]
    if not copies:
        target[()] = values
    elif not np.array_equal(values, target[()], equal_nan=source.dtype.kind in "fc"):
        raise StoreError(f"{path}: {source.name} is not what it is in the parts before. {REPAIR}")


def _slabs(source: h5py.Dataset, path: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Pieces of a dataset, at most 16 MiB each, with their first row."""
    row_bytes = max(1, prod(source.shape[1:]) * source.dtype.itemsize)
    step = max(1, _SLAB_BYTES // row_bytes)
    for start in range(0, len(source), step):
        with reading(path):
            values = source[start : start + step]
        yield start, values


def _chunks_line_up(source: h5py.Dataset, target: h5py.Dataset, at: int) -> bool:
    """Whether compressed chunks can be copied as they are: 640 MB/s, against 40 MB/s by gzip."""
    if source.chunks is None or source.chunks != target.chunks:
        return False
    rows: int = source.chunks[0]
    return at % rows == 0 and len(source) % rows == 0


def _raw_chunks(source: h5py.Dataset, path: Path) -> Iterator[tuple[tuple[int, ...], int, bytes]]:
    """Compressed chunks: offset of the first element, mask of filters left out, bytes."""
    grid = [-(-length // chunk) for length, chunk in zip(source.shape, source.chunks, strict=True)]
    for cell in np.ndindex(*grid):
        offset = tuple(index * chunk for index, chunk in zip(cell, source.chunks, strict=True))
        with reading(path):
            mask, chunk = source.id.read_direct_chunk(offset)
        yield offset, mask, chunk
