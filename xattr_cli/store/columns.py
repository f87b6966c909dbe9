"""Columns: arrays on their way into an HDF5 file, and how a file lays them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import h5py
import numpy as np

__all__ = [
    "AXIS",
    "STRINGS",
    "Axis",
    "ResultColumn",
    "check_column_lengths",
    "chunk_shape",
    "create_dataset",
    "write_attributes",
    "write_column",
]

Axis = Literal["rows", "samples", "constant", "single"]

AXIS = "axis"
"""Attribute of a part's dataset that holds its `Axis`."""

STRINGS = h5py.string_dtype("utf-8")
"""Type of text in a file: variable-length UTF-8."""

_CHUNK_BYTES = 2**20  # HDF5 caches 1 MiB of chunks per dataset: a larger chunk is decoded at every access


@dataclass(frozen=True)
class ResultColumn:
    """One dataset of a part.

    Attributes:
        values: numbers, or text as an array of str.
        axis: "rows" and "samples" columns are concatenated over the parts along their first axis;
            a "constant" one is the same in every part, a "single" one is in one part only.
        axes: a label per axis of `values`, such as ("row", "channel", "height", "width"); may be empty.

    Raises:
        ValueError: a scalar that should be concatenated, labels that do not fit, or things that are
            neither numbers nor text.
    """

    values: np.ndarray
    axis: Axis = "rows"
    axes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.axis in ("rows", "samples") and self.values.ndim == 0:
            raise ValueError(f"a scalar cannot be a column along {self.axis!r}: only a constant one")
        if self.axes and len(self.axes) != self.values.ndim:
            raise ValueError(f"axes {self.axes} do not fit values of shape {self.values.shape}")
        if self.values.dtype.kind == "O" and not all(isinstance(v, str) for v in self.values.flat):
            raise ValueError("an object array must hold nothing but str")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the dataset."""
        return STRINGS if self.values.dtype.kind in "OU" else self.values.dtype

    def stored(self) -> np.ndarray:
        """(*shape) the values as HDF5 takes them: text without the characters that UTF-8 in HDF5 cannot hold."""
        if self.dtype is not STRINGS:
            return self.values
        texts = [_storable(str(text)) for text in self.values.flat]
        return np.array(texts, dtype=object).reshape(self.values.shape)


def _storable(text: str) -> str:
    """`text` with NUL and undecodable bytes (as in some file names) replaced by U+FFFD."""
    decoded = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return decoded.replace("\0", "\ufffd")


def check_column_lengths(columns: Mapping[str, ResultColumn]) -> None:
    """Refuse columns of one part that differ in length along the same axis, with a ValueError."""
    for axis in ("rows", "samples"):
        lengths = {path: len(column.values) for path, column in columns.items() if column.axis == axis}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{path}: {length}" for path, length in sorted(lengths.items()))
            raise ValueError(f"columns along {axis!r} must be equally long, but: {listed}")


def write_column(file: h5py.File, path: str, column: ResultColumn, compression: str | None) -> str | None:
    """Write a column into a part; how it is compressed."""
    shape = column.values.shape
    dataset = create_dataset(file, path, shape, column.dtype, axes=column.axes, compression=compression)
    dataset.attrs[AXIS] = column.axis
    if column.values.size:
        dataset[()] = column.stored()
    return dataset.compression  # type: ignore[no-any-return]


def create_dataset(
    file: h5py.File,
    path: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    axes: tuple[str, ...] = (),
    compression: str | None = None,
) -> h5py.Dataset:
    """A dataset without time stamps: contiguous, or in chunks if compressed.

    Arguments:
        compression: None, "lzf", or "gzip" (level 1, with the shuffle filter).
    """
    filters: dict[str, Any] = {}
    is_text = h5py.check_string_dtype(dtype) is not None
    if compression is not None and shape and 0 not in shape and not is_text:
        filters = {"chunks": chunk_shape(shape, dtype.itemsize), "compression": compression}
        filters |= {"compression_opts": 1, "shuffle": True} if compression == "gzip" else {}
    dataset = file.create_dataset(path, shape=shape, dtype=dtype, track_times=False, **filters)
    for dimension, label in enumerate(axes):
        dataset.dims[dimension].label = label
    return dataset


def chunk_shape(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Chunk of at most 1 MiB: a power of two of whole rows, or a slab of one row if rows are larger."""
    row_bytes = prod(shape[1:]) * itemsize
    if row_bytes <= _CHUNK_BYTES:
        rows = 2 ** ((_CHUNK_BYTES // row_bytes).bit_length() - 1)
        return (min(rows, shape[0]), *shape[1:])
    chunk = [1] * len(shape)
    room = _CHUNK_BYTES // itemsize
    for dimension in reversed(range(1, len(shape))):
        chunk[dimension] = max(1, min(shape[dimension], room))
        room //= chunk[dimension]
    return tuple(chunk)


def write_attributes(target: h5py.HLObject, attributes: Mapping[str, Any]) -> None:
    """Set attributes in the order of their names; text is stored as UTF-8."""
    for name in sorted(attributes):
        value = attributes[name]
        target.attrs[name] = _storable(value) if isinstance(value, str) else value
