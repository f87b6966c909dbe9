"""NumPy archives of arrays that are longer than memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["NpzWriter", "npz_writer"]


class NpzWriter:
    """An archive that is being written, array by array; `numpy.load` reads it without pickles."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive

    def add(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Iterable[np.ndarray]) -> None:
        """Write an array, block by block along its first axis.

        Arguments:
            name: its key in the archive.
            shape, dtype: of the whole.
            blocks: one after the other.
        """
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_2_0(file, header)
            for block in blocks:
                file.write(np.ascontiguousarray(block, dtype).tobytes())


@contextmanager
def npz_writer(path: Path) -> Iterator[NpzWriter]:
    """An archive at `path`, uncompressed as `numpy.savez` leaves it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        yield NpzWriter(archive)
