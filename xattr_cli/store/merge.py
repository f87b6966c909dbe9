"""The merge: all parts of a job, copied piece by piece into one file; a killed one goes on where it was.

Ten thousand parts of fifty small datasets each are half a million copies. By h5py's groups and attributes each of
them took 0.3 ms, so the common case, a small array of numbers, goes by HDF5's own calls: 0.02 ms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5s, h5t

from ..errors import StoreError
from .axes import name_axes
from .checkpointed import MergeState, Progress, checkpointed_hdf5
from .checksums import RunningChecksum, write_checksums
from .columns import create_dataset, write_attributes
from .durable import Hdf5Writer
from .shard import ranges
from .survey import CODE_CHANGES, REPAIR, Entry, Survey, entries_of, open_part, reading, survey

__all__ = ["merge_parts"]

_SLAB_BYTES = 16 * 2**20
_WHOLE = ("constant", "single")  # axes of datasets that are not made of rows


def merge_parts(
    parts: Sequence[Path], output: Path, *, rows: int, attributes: Mapping[str, Any], state: Path
) -> None:
    """Write all parts, in order, into `output`: durably, in constant memory, replacing what was there.

    Attributes of groups and datasets are those of the first part that has them.

    Arguments:
        parts: files of all parts; not empty.
        rows: what the "rows" datasets of all parts must sum up to.
        attributes: root attributes of the result.
        state: file that keeps how far the merge is, so that a killed one is gone on with.

    Raises:
        StoreError: a part cannot be read or contradicts another, or `output` cannot be written.
    """
    surveyed = survey(parts, rows)
    with checkpointed_hdf5(output, MergeState(state, parts)) as (writer, checkpoints):
        if checkpoints.is_complete:
            return
        targets = _targets(writer.file, surveyed, checkpoints.filled)
        for number, path in enumerate(parts[checkpoints.parts :], checkpoints.parts + 1):
            with open_part(path) as part:
                with reading(path):
                    entries = entries_of(part)
                for name, entry in entries.items():
                    targets[name].append(part, entry, path, writer)
            writer.check()
            checkpoints.tell(writer, number, lambda: {name: target.progress for name, target in targets.items()})
        name_axes(writer.file)
        write_attributes(writer.file, {**attributes, **_told(surveyed.code_changes, len(parts))})
        write_checksums(writer.file, {name: target.checksum.text for name, target in targets.items()})
        writer.check()


def _told(changed: Mapping[str, Sequence[int]], parts: int) -> dict[str, str]:
    """Which parts were computed by other code than the first, as an attribute of the result; none if none was."""
    lines = [f"parts {ranges(numbers)} of {parts}: {text}" for text, numbers in changed.items()]
    return {CODE_CHANGES: "\n".join(lines)} if lines else {}


def _targets(file: h5py.File, surveyed: Survey, filled: Mapping[str, Progress]) -> dict[str, _Target]:
    """The datasets of the result; kept open, lest a chunk that two parts share is compressed twice."""
    if filled:
        return {name: _Target(file[name], entry, *filled[name]) for name, entry in surveyed.entries.items()}
    targets = {}
    for name, entry in sorted(surveyed.entries.items()):
        compression = entry.compression
        dataset = create_dataset(file, name, entry.shape, entry.dtype, axes=entry.axes, compression=compression)
        targets[name] = _Target(dataset, entry, 0)
    for name, own in surveyed.attributes.items():
        write_attributes(targets[name].dataset if name in targets else file.require_group(name), own)
    return targets


class _Target:
    """A dataset of the result, filled part after part.

    Attributes:
        dataset: of the result.
        filled: rows that it has already; of a constant one, how often it was seen.
        checksum: of all that is in it.
    """

    def __init__(self, dataset: h5py.Dataset, entry: Entry, filled: int, checksum: int = 0) -> None:
        self.dataset = dataset
        self.filled = filled
        self.checksum = RunningChecksum(checksum)
        self._name = str(dataset.name)
        self._path = self._name.encode()
        self._dtype = dataset.dtype
        self._type = h5t.py_create(dataset.dtype)
        self._space = dataset.id.get_space()
        self._extent = self._space
        self._is_plain = self._dtype.kind in "biuf" and dataset.chunks is None
        self._constant = dataset[()] if filled and entry.axis in _WHOLE else None

    @property
    def progress(self) -> Progress:
        """What a merge that goes on has to know."""
        return self.filled, self.checksum.value

    def append(self, part: h5py.File, entry: Entry, path: Path, writer: Hdf5Writer) -> None:
        """Copy the dataset that `entry` describes behind what is there."""
        is_small = self._is_plain and prod(entry.shape) * self._dtype.itemsize <= _SLAB_BYTES
        if entry.axis in _WHOLE:
            with reading(path):
                values = self._read(part, entry.shape) if is_small else part[self._name][()]
            self._set_constant(values, path)
            self.filled += 1
            return
        if is_small:
            with reading(path):
                values = self._read(part, entry.shape)
            self.checksum.add(values)
            self._space.select_hyperslab((self.filled, *(0 for _ in entry.shape[1:])), entry.shape)
            self.dataset.id.write(self._extent, self._space, values, self._type)
        else:
            self._copy_large(part, entry.shape, path, writer)
        self.filled += entry.shape[0]

    def _set_constant(self, values: Any, path: Path) -> None:
        if self._constant is None:
            self._constant = self.dataset[()] = values
            self.checksum.add(np.asarray(values, self._dtype))
        elif not np.array_equal(values, self._constant, equal_nan=self._dtype.kind in "fc"):
            raise StoreError(f"{path}: {self.dataset.name} is not what it is in the parts before. {REPAIR}")

    def _read(self, part: h5py.File, shape: tuple[int, ...]) -> np.ndarray:
        """(*shape) the same dataset of a part; leaves its extent in `_extent`."""
        values = np.empty(shape, self._dtype)
        source = h5d.open(part.id, self._path)
        if source.get_storage_size() not in (0, values.nbytes):
            raise TypeError(f"{self._name} is not what the layout of the part says")
        if self._extent.shape != shape:
            self._extent = h5s.create_simple(shape) if shape else h5s.create(h5s.SCALAR)
        source.read(self._extent, h5s.ALL, values, self._type)  # which refuses another number of elements
        return values

    def _copy_large(self, part: h5py.File, shape: tuple[int, ...], path: Path, writer: Hdf5Writer) -> None:
        with reading(path):
            source = part[self._name]
            if source.shape != shape:
                raise TypeError(f"{self._name} is not what the layout of the part says")
        if _chunks_line_up(source, self.dataset, self.filled):
            # decompressed for the checksum alone: what was copied raw, HDF5 2.0 does not read before it is closed
            for _, values in _slabs(source, path):
                self.checksum.add(values)
            for offset, mask, chunk in _raw_chunks(source, path):
                self.dataset.id.write_direct_chunk((self.filled + offset[0], *offset[1:]), chunk, mask)
                writer.check()
        else:
            for start, values in _slabs(source, path):
                at = self.filled + start
                self.dataset[at : at + len(values)] = values
                self.checksum.add(values)
                writer.check()


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
