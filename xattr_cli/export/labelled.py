"""The arrays of a result under their own paths and with named axes: NumPy archives, netCDF and Zarr."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from ..errors import JobError
from ..importing import import_optional
from ..registry import EXPORTERS
from ..store.axes import name_axes
from ..store.columns import STRINGS, chunk_shape, create_dataset
from .base import Exporter
from .npy import npz_writer
from .source import Source, StoredArray

__all__ = ["NetcdfExporter", "NpzExporter", "ZarrExporter"]


@EXPORTERS.register("npz")
class NpzExporter(Exporter):
    """A NumPy archive: `np.load(file)["engines/LABEL/attribution"]`, each array under its path in the result.

    Texts are strings of fixed width; nothing is pickled.
    """

    suffix = ".npz"

    def write(self, source: Source, path: Path) -> tuple[str, ...]:
        """All arrays but those that only repeat a coordinate."""
        with npz_writer(path) as archive:
            for array in source.arrays():
                if array.is_axis:
                    continue
                if array.is_text:
                    texts = array.texts()
                    archive.add(array.path, texts.shape, texts.dtype, [texts])
                else:
                    archive.add(
                        array.path, array.shape, array.data.dtype, (values for _, values in array.blocks())
                    )
        return ()


@EXPORTERS.register("netcdf")
class NetcdfExporter(Exporter):
    """A netCDF-4 file of the chosen engines, with named dimensions and coordinates.

    A group per engine: `xarray.open_dataset(file, group="engines/LABEL")`; all: `xarray.open_datatree(file)`.
    The result file itself can be opened in the same way; this one holds the chosen rows and engines only.
    """

    suffix = ".nc"

    def write(self, source: Source, path: Path) -> tuple[str, ...]:
        """All arrays; truth values become bytes, which netCDF has no type for."""
        with h5py.File(path, "w", libver=("earliest", "v110"), track_order=True) as file:
            for array in source.arrays():
                if not array.is_axis:
                    _copy(array, file)
            name_axes(file)
            file.attrs.update(source.attributes())
        return ()


def _copy(array: StoredArray, file: h5py.File) -> None:
    dtype = STRINGS if array.is_text else np.dtype(np.int8) if array.data.dtype == bool else array.data.dtype
    axes = tuple(axis.label for axis in array.data.dims)
    copy = create_dataset(file, array.path, array.shape, dtype, axes=axes if any(axes) else ())
    if array.is_text:
        copy[()] = array.texts().astype(object)
        return
    for where, values in array.blocks():
        copy[where if copy.ndim else ()] = values


@EXPORTERS.register("zarr")
class ZarrExporter(Exporter):
    """A Zarr store (format 2), which xarray, napari, dask and cloud tools read by chunks.

    A group per engine: `xarray.open_zarr(folder, group="engines/LABEL", consolidated=False)`. Texts are strings of
    fixed width.
    """

    suffix = ".zarr"

    def write(self, source: Source, path: Path) -> tuple[str, ...]:
        """All arrays with their coordinates, in chunks of at most 1 MiB."""
        zarr = import_optional("zarr", needed_by="export --to zarr", install="xattr-cli[xarray]", error=JobError)
        root = zarr.open_group(path, mode="w", zarr_format=2, attributes=source.attributes())
        for array in source.arrays():
            texts = array.texts() if array.is_text else None
            dtype = array.data.dtype if texts is None else texts.dtype
            full = tuple(max(1, length) for length in array.shape)
            stored = root.create_array(
                array.path,
                shape=array.shape,
                dtype=dtype,
                chunks=chunk_shape(full, dtype.itemsize) if full else (),
                fill_value=None,  # or xarray takes every zero for a missing number
                attributes={"_ARRAY_DIMENSIONS": list(array.dims)},
            )
            if texts is not None:
                stored[...] = texts
                continue
            for where, values in array.blocks():
                stored[where if array.shape else ...] = values
        return ()
