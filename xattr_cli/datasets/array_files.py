"""Named arrays inside files, read by slices: a file may be larger than the memory."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

from ..errors import DataError, reported, suggestion
from ..untrusted.archives import swelling
from .columns import Sliceable
from .files import existing_file
from .stored.contained import ContainedHdf5
from .stored.npy import data_start, open_array, open_array_in

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
        """The files that hold these arrays, which were asked for before."""
        return [self.path]

    def close(self) -> None:  # noqa: B027 - arrays close what they read from
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
    kinds: dict[str, Callable[[Path, str], ArrayFile]] = {
        ".npy": _NpyFile,
        ".npz": _NpzFile,
        ".h5": _Hdf5File,
        ".hdf5": _Hdf5File,
    }
    kind = kinds.get(existing_file(path, key).suffix.lower())
    if kind is None:
        raise DataError(f"{key}: {path}: unknown type of file.{suggestion(path.suffix, kinds)}")
    with reported(f"{key}: {path} is damaged or not a {path.suffix} file", DataError):
        return kind(path, key)


class _NpyFile(ArrayFile):
    """A single array; it goes by any name."""

    def __init__(self, path: Path, key: str) -> None:
        super().__init__(path)

    def names(self) -> list[str]:
        return [self.path.stem]

    def array(self, name: str, key: str) -> Sliceable:
        return open_array(self.path, key)


class _NpyFolder(ArrayFile):
    """`X` is X.npy."""

    def names(self) -> list[str]:
        return sorted(path.stem for path in self.path.glob("*.npy"))

    def array(self, name: str, key: str) -> Sliceable:
        if name not in self.names():
            raise self._unknown(name, key)
        return open_array(self.path / f"{name}.npy", key)

    def _unknown(self, name: str, key: str) -> DataError:
        if self.names():
            return super()._unknown(name, key)
        return DataError(f"{key}: {self.path} is a folder without .npy files; a file of arrays is needed.")

    def files(self, names: list[str]) -> list[Path]:
        return [self.path / f"{name}.npy" for name in names]


class _NpzFile(ArrayFile):
    """A zip archive of .npy files; what is not compressed is read where it lies."""

    def __init__(self, path: Path, key: str) -> None:
        super().__init__(path)
        if bomb := swelling(path):
            raise DataError(f"{key}: {path} {bomb}")
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
        with reported(f"{where} is damaged", DataError):
            if member.compress_type == zipfile.ZIP_STORED:
                with self.path.open("rb") as file:
                    return open_array_in(file, data_start(file, member, where), member.file_size, where)
            return self._unpack(member, where)

    def _unpack(self, member: zipfile.ZipInfo, where: str) -> Sliceable:
        try:
            # without a name on the disk, the copy goes with the last array in it, even after a kill
            with tempfile.TemporaryFile(suffix=".npy") as copy:
                with zipfile.ZipFile(self.path) as archive, archive.open(member) as packed:
                    shutil.copyfileobj(packed, copy, 2**20)
                copy.flush()
                return open_array_in(copy, 0, member.file_size, where)
        except (zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{where} is damaged: {error}") from error
        except OSError as error:
            raise DataError(
                f"{where} cannot be unpacked to {tempfile.gettempdir()}, where it needs {member.file_size} "
                f"bytes: {error}. Set TMPDIR to a folder with room, or save with numpy.savez, uncompressed."
            ) from error


class _Hdf5File(ArrayFile):
    """Datasets of an HDF5 file; groups are separated by slashes or dots."""

    def __init__(self, path: Path, key: str) -> None:
        super().__init__(path)
        self._file = ContainedHdf5(path, key)
        self._sources: dict[str, list[Path]] = {}

    def names(self) -> list[str]:
        return self._file.names()

    def array(self, name: str, key: str) -> Sliceable:
        found = self._file.array(name, key)
        if found is None:
            raise self._unknown(name, key)
        array, self._sources[name] = found
        return array

    def files(self, names: list[str]) -> list[Path]:
        sources = (source for name in names for source in self._sources.get(name, ()))
        return list(dict.fromkeys((self.path, *sources)))

    def close(self) -> None:
        self._file.close()
