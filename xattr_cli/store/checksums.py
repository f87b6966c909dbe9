"""Checksums: of every byte of a part, in a seal at its end, and of every dataset of a result.

A seal takes no HDF5 to be checked, so that a merge can look at ten thousand parts; HDF5 does not mind bytes after
its own. The checksums of a result survive copying and repacking, and tell which dataset is damaged.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from .durable import reason
from .survey import datasets

__all__ = ["CHECKSUM", "RunningChecksum", "broken_seals", "damage", "lacks_seal", "seal", "write_checksums"]

CHECKSUM = "crc32"
"""Attribute of a result's dataset: CRC-32 of its values in C order, of its texts with a NUL after each."""

_STRUCTURE = "structure_crc32"
"""Attribute of a result's root: CRC-32 of the names, shapes, types and attributes of all that is in it."""

_SEAL = re.compile(rb"xattr-cli crc32 ([0-9a-f]{8}) of ([0-9]{20}) bytes\n")
_SEAL_BYTES = 55
_NO_SEAL = "is cut off, or was written to: the checksum at its end is missing"
_BLOCK = 2**20
_LIBRARY = {"REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}
"""Attributes that HDF5 and netCDF keep for themselves."""


# --- seals ----------------------------------------------------------------------------------------


def seal(descriptor: int) -> None:
    """Write a seal at the end of an open file."""
    size, checksum = _checksum_of_file(descriptor, os.fstat(descriptor).st_size)
    text = f"xattr-cli crc32 {checksum:08x} of {size:020d} bytes\n".encode()
    while text:
        written = os.pwrite(descriptor, text, size)
        text, size = text[written:], size + written


def broken_seals(paths: Sequence[Path]) -> dict[Path, str]:
    """The files whose bytes are not those that were sealed, and what is wrong with each; read by all cores."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        faults = zip(paths, pool.map(_fault, paths), strict=True)
        return {path: fault for path, fault in faults if fault}


def lacks_seal(path: Path) -> str:
    """What is wrong with the end of a file, found out without reading the rest of it; empty if nothing is."""
    try:
        with path.open("rb") as file:
            return "" if _sealed(file.fileno()) else _NO_SEAL
    except OSError as error:
        return f"cannot be read ({reason(error)})"


def _fault(path: Path) -> str:
    try:
        with path.open("rb") as file:
            sealed = _sealed(file.fileno())
            if sealed is None:
                return _NO_SEAL
            is_whole = sealed == _checksum_of_file(file.fileno(), sealed[0])
            return "" if is_whole else "is damaged: its bytes do not have the checksum at its end"
    except OSError as error:
        return f"cannot be read ({reason(error)})"


def _sealed(descriptor: int) -> tuple[int, int] | None:
    """Bytes and CRC-32 that the seal of a file tells; None if it has none."""
    size = os.fstat(descriptor).st_size - _SEAL_BYTES
    found = _SEAL.fullmatch(os.pread(descriptor, _SEAL_BYTES, max(0, size)))
    return (size, int(found[1], 16)) if found is not None and int(found[2]) == size else None


def _checksum_of_file(descriptor: int, size: int) -> tuple[int, int]:
    """Bytes and CRC-32 of the beginning of a file."""
    checksum = 0
    for start in range(0, size, _BLOCK):
        checksum = zlib.crc32(os.pread(descriptor, min(_BLOCK, size - start), start), checksum)
    return size, checksum


# --- datasets -------------------------------------------------------------------------------------


class RunningChecksum:
    """The checksum of values that come one piece after the other.

    Arguments:
        value: of those that have come before.
    """

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def add(self, values: np.ndarray) -> None:
        """Take the next values (any shape), in C order."""
        self.value = zlib.crc32(_bytes(values), self.value)

    @property
    def text(self) -> str:
        """As it stands in the attribute."""
        return f"{self.value:08x}"


def _bytes(values: np.ndarray) -> bytes:
    if values.dtype.kind != "O":
        return values.tobytes()
    texts = (
        text if isinstance(text, bytes) else str(text).encode("utf-8", "surrogatepass") for text in values.flat
    )
    return b"".join(text + b"\0" for text in texts)


def write_checksums(file: h5py.File, known: Mapping[str, str]) -> None:
    """Give every dataset of a result its checksum, and the file that of its structure; nothing may follow.

    Arguments:
        file: the result, open for writing.
        known: path of a dataset → checksum of the values that were written into it; others are read again.
    """
    for path, data in datasets(file).items():
        data.attrs[CHECKSUM] = known[path] if path in known else _checksum(data)
    file.attrs[_STRUCTURE] = _structure(file)


def _structure(file: h5py.File) -> str:
    items: dict[str, h5py.HLObject] = {"/": file}
    file.visititems(items.__setitem__)
    checksum = 0
    for name in sorted(items):
        for line in _described(name, items[name]):
            checksum = zlib.crc32(f"{line}\n".encode("utf-8", "surrogatepass"), checksum)
    return f"{checksum:08x}"


def _described(name: str, item: h5py.HLObject) -> Iterator[str]:
    layout = f" {item.shape} {item.dtype}" if isinstance(item, h5py.Dataset) else ""
    yield f"{name}{layout}"
    for key in sorted(item.attrs):
        if key != _STRUCTURE and key not in _LIBRARY:
            yield f"{name}@{key}: {_plain(item.attrs[key])!r}"


def _plain(value: Any) -> Any:
    """An attribute as text that does not depend on the versions of h5py and numpy."""
    array = np.asarray(value)
    return value if isinstance(value, str) else (array.dtype.kind, array.tolist())


def damage(file: h5py.File) -> Iterable[str]:
    """What is not as it was written in a result: datasets by name, and what is wrong with each."""
    for data in datasets(file).values():
        try:
            expected = data.attrs.get(CHECKSUM)
            if expected is None:
                yield f"{data.name} has no checksum"
            elif _checksum(data) != expected:
                yield f"the values of {data.name} do not have its checksum"
        except (OSError, RuntimeError, ValueError) as error:
            yield f"{data.name} cannot be read ({reason(error)})"
    if file.attrs.get(_STRUCTURE) != _structure(file):
        yield "names, shapes or attributes are not those that were written"


def _checksum(data: h5py.Dataset) -> str:
    running = RunningChecksum()
    if data.ndim == 0:
        running.add(np.asarray(data[()], data.dtype))
    else:
        rows = max(1, 16 * _BLOCK // max(1, prod(data.shape[1:]) * data.dtype.itemsize))
        for start in range(0, len(data), rows):
            running.add(np.asarray(data[start : start + rows]))
    return running.text
