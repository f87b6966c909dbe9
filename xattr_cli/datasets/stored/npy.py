"""Arrays in .npy format, read by position.

They are not mapped: a mapped file that somebody cuts off kills the process with SIGBUS, which Python cannot catch.
"""

from __future__ import annotations

import mmap
import os
import struct
import weakref
import zipfile
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ...errors import DataError, reported

__all__ = ["StoredArray", "as_stored", "data_start", "mapped_file", "open_array", "open_array_in"]


class StoredArray:
    """An array in a file; slices of its first axis are read when they are asked for.

    Arguments:
        file: open; what is read stays within it although its name may go to another file.
        start: offset of the first byte.
        shape, dtype: of the array.
        fortran_order: whether the first axis runs fastest.
        where: begins every error.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        fortran_order: bool,
        where: str,
    ) -> None:
        self.shape = shape
        self.dtype = dtype
        self._start = start
        self._fortran_order = fortran_order and len(shape) > 1
        self._where = where
        self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)

    def __getitem__(self, rows: slice) -> np.ndarray:
        """(chosen rows, *shape[1:]) read now, in memory of its own.

        Raises:
            DataError: the file ends before them.
        """
        first, last, step = rows.indices(self.shape[0])
        if step != 1:
            return self[:][rows]
        count, values = max(0, last - first), prod(self.shape[1:])
        if not self._fortran_order:
            return self._read(first * values, count * values).reshape(count, *self.shape[1:])
        columns = range(0, self.shape[0] * values, self.shape[0])
        found = [self._read(column + first, count) for column in columns]
        return np.concatenate(found).reshape(*self.shape[:0:-1], count).transpose()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """(*shape) all of it."""
        whole = self[:] if self.shape else self._read(0, 1).reshape(())
        return whole if dtype is None else whole.astype(dtype)

    def _read(self, position: int, count: int) -> np.ndarray:
        """(count,) values that lie one after the other."""
        buffer = np.empty(count * self.dtype.itemsize, np.uint8)
        view, offset = memoryview(buffer.data), self._start + position * self.dtype.itemsize
        while view:
            got = os.preadv(self._descriptor, [view], offset)
            if not got:
                raise DataError(f"{self._where} was cut off while it was in use: {len(view)} bytes are missing.")
            view, offset = view[got:], offset + got
        return buffer.view(self.dtype)


def open_array(path: Path, key: str) -> StoredArray:
    """The array of a .npy file.

    Raises:
        DataError: it is damaged or holds Python objects. `key` begins the message.
    """
    with path.open("rb") as file:
        return open_array_in(file, 0, path.stat().st_size, f"{key}: {path}")


def open_array_in(file: BinaryIO, start: int, size: int, where: str) -> StoredArray:
    """An array in .npy format that takes `size` bytes of an open file from `start` on.

    Raises:
        DataError: it is damaged, cut off, or holds Python objects. `where` begins the message.
    """
    with reported(f"{where} is damaged or not in .npy format", DataError):
        file.seek(start)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
    if dtype.hasobject:
        raise DataError(
            f"{where} holds Python objects, which are not read: they could run code. "
            "Save arrays of numbers. Samples of different lengths: pad them to one length, and name their own in "
            "lengths of dataset kind sequences."
        )
    offset = file.tell()
    if dtype.itemsize == 0 or min(shape, default=0) < 0:
        raise DataError(f"{where} is damaged: no array is {dtype} {shape}.")
    expected = prod(shape) * dtype.itemsize
    if offset - start + expected > size:
        raise DataError(
            f"{where} is cut off: {dtype} {shape} takes {expected} bytes, {size - (offset - start)} are there."
        )
    return StoredArray(file, offset, shape, dtype, fortran_order, where)


def mapped_file(value: Any) -> Path | None:
    """The file that a whole array is mapped from, for reading; None if it is anything else."""
    if not isinstance(value, np.memmap) or value.mode != "r" or not value.shape:
        return None
    base: Any = value.base  # that of a view is an array
    if not isinstance(base, mmap.mmap) or not (value.flags.c_contiguous or value.flags.f_contiguous):
        return None
    return None if value.filename is None else Path(value.filename)


def as_stored(value: Any, where: str) -> StoredArray | None:
    """What somebody else has mapped, as an array that is read; None if `mapped_file` knows no file of it."""
    path = mapped_file(value)
    if path is None:
        return None
    with path.open("rb") as file:
        order = not value.flags.c_contiguous
        return StoredArray(file, value.offset, value.shape, value.dtype, order, f"{where}: {path}")


def data_start(file: BinaryIO, member: zipfile.ZipInfo, where: str) -> int:
    """Offset of a stored member's bytes; the local header repeats name and extra field at other lengths.

    Raises:
        DataError: no such member is there, or it is encrypted. `where` begins the message.
    """
    file.seek(member.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04" or member.flag_bits & 1:
        raise DataError(f"{where} is damaged or encrypted.")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return member.header_offset + 30 + int(name_length) + int(extra_length)
