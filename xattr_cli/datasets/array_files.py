"""Named arrays inside files, mapped or read by slices: a file may be larger than the memory."""

from __future__ import annotations

import shutil
import struct
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np

from ..errors import DataError, suggestion
from .columns import Sliceable
from .files import existing_file

__all__ = ["ArrayFile", "open_array_file"]


class ArrayFile(ABC):
    """A file, or a folder of files, that holds arrays under names.

    Arguments:
        path: of an existing file or folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def names(self) -> list[str]:
        """Names of all arrays, sorted."""

    @abstractmethod
    def array(self, name: str, key: str) -> Sliceable:
        """The array called `name`, not read yet.

        Raises:
            DataError: no such array; it is damaged or holds Python objects. `key` begins the message.
        """

    def files(self, names: list[str]) -> list[Path]:
        """The files that hold these arrays, for hashing."""
        return [self.path]

    def close(self) -> None:  # noqa: B027 - mapped files need no closing
        """Let go of the file."""

    def _unknown(self, name: str, key: str) -> DataError:
        return DataError(f"{key}: {self.path} has no array {name!r}.{suggestion(name, self.names())}")


def open_array_file(path: Path, key: str) -> ArrayFile:
    """Open a .npy, .npz, .h5 or .hdf5 file, or a folder of .npy files.

    Raises:
        DataError: missing, damaged, or of another type. `key` begins the message.
    """
    if path.is_dir():
        return _NpyFolder(path)
    kinds: dict[str, Callable[[Path], ArrayFile]] = {
        ".npy": _NpyFile,
        ".npz": _NpzFile,
        ".h5": _Hdf5File,
        ".hdf5": _Hdf5File,
    }
    kind = kinds.get(existing_file(path, key).suffix.lower())
    if kind is None:
        raise DataError(f"{key}: {path}: unknown type of file.{suggestion(path.suffix, kinds)}")
    try:
        return kind(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{key}: {path} is damaged or not a {path.suffix} file: {error}") from error


class _NpyFile(ArrayFile):
    """A single array; it goes by any name."""

    def names(self) -> list[str]:
        return [self.path.stem]

    def array(self, name: str, key: str) -> Sliceable:
        return _map_file(self.path, key)


class _NpyFolder(ArrayFile):
    """`X` is X.npy."""

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.path.glob("*.npy"))

    def array(self, name: str, key: str) -> Sliceable:
        if name not in self.names():
            raise self._unknown(name, key)
        return _map_file(self.path / f"{name}.npy", key)

    def files(self, names: list[str]) -> list[Path]:
        return [self.path / f"{name}.npy" for name in names]


class _NpzFile(ArrayFile):
    """A zip archive of .npy files; what is not compressed is mapped where it lies."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with zipfile.ZipFile(path) as archive:
            self._members = {
                info.filename.removesuffix(".npy"): info
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }

    def names(self) -> list[str]:
        return sorted(self._members)

    def array(self, name: str, key: str) -> Sliceable:
        if name not in self._members:
            raise self._unknown(name, key)
        member = self._members[name]
        where = f"{key}: {self.path}, array {name!r}"
        if member.compress_type == zipfile.ZIP_STORED:
            with self.path.open("rb") as file:
                return _map(file, _data_start(file, member, where), member.file_size, where)
        return self._unpack(member, where)

    def _unpack(self, member: zipfile.ZipInfo, where: str) -> Sliceable:
        try:
            # without a name on the disk, the copy goes with the last map of it, even after a kill
            with tempfile.TemporaryFile(suffix=".npy") as copy:
                with zipfile.ZipFile(self.path) as archive, archive.open(member) as packed:
                    shutil.copyfileobj(packed, copy, 2**20)
                copy.flush()
                return _map(copy, 0, member.file_size, where)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{where} is damaged: {error}") from error
        except OSError as error:
            raise DataError(
                f"{where} cannot be unpacked to {tempfile.gettempdir()}, where it needs {member.file_size} "
                f"bytes: {error}. Set TMPDIR to a folder with room, or save with numpy.savez, uncompressed."
            ) from error


class _Hdf5File(ArrayFile):
    """Datasets of an HDF5 file; groups are separated by slashes or dots."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = h5py.File(path, "r")

    def names(self) -> list[str]:
        found: list[str] = []
        self._file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
        return sorted(found)

    def array(self, name: str, key: str) -> Sliceable:
        for spelling in (name, name.replace(".", "/")):
            item = self._file.get(spelling)
            if isinstance(item, h5py.Dataset):
                if item.shape is None:
                    raise DataError(f"{key}: {self.path}, array {name!r} is an empty dataspace.")
                return item  # type: ignore[no-any-return]
        raise self._unknown(name, key)

    def close(self) -> None:
        self._file.close()


def _data_start(file: BinaryIO, member: zipfile.ZipInfo, where: str) -> int:
    """Offset of a stored member's bytes; the local header repeats name and extra field at other lengths."""
    file.seek(member.header_offset)
    header = file.read(30)
    if len(header) < 30 or header[:4] != b"PK\x03\x04" or member.flag_bits & 1:
        raise DataError(f"{where} is damaged or encrypted.")
    name_length, extra_length = struct.unpack("<HH", header[26:30])
    return member.header_offset + 30 + int(name_length) + int(extra_length)


def _map_file(path: Path, key: str) -> np.ndarray:
    with path.open("rb") as file:
        return _map(file, 0, path.stat().st_size, f"{key}: {path}")


def _map(file: BinaryIO, start: int, size: int, where: str) -> np.ndarray:
    """Map an array in .npy format that takes `size` bytes of an open file from `start` on."""
    file.seek(start)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
    except (ValueError, OSError) as error:
        raise DataError(f"{where} is damaged or not in .npy format: {error}") from error
    if dtype.hasobject:
        raise DataError(
            f"{where} holds Python objects, which are not read: they could run code. "
            "Save arrays of numbers; of samples of different lengths, pad them to one length and name it: "
            "dataset kind "
            "sequences, with lengths."
        )
    offset = file.tell()
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if offset - start + expected > size:
        raise DataError(
            f"{where} is cut off: {dtype} {shape} takes {expected} bytes, {size - (offset - start)} are there."
        )
    if expected == 0:
        return np.empty(shape, dtype)
    return np.memmap(file, dtype, "r", offset, shape, "F" if fortran_order else "C")
