"""Datasets of arrays: .npy, .npz and HDF5 files, never read as a whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

import numpy as np
from pydantic import Field

from ..errors import DataError, suggestion
from ..fingerprint import HashedFile, hash_file
from ..job.config import JobPath
from ..registry import DATASETS
from ..samples import InputSpec
from .array_files import ArrayFile, open_array_file
from .base import DatasetSource, Samples
from .classes.labels import Labels, as_labels
from .columns import ArraySamples, Column, Sliceable, check_samples
from .files import combined
from .scaling import default_axes, nonzero_scale, per_feature

__all__ = ["Arrays"]

Value = TypeVar("Value")
DType = Literal["float16", "float32", "float64", "uint8", "int32", "int64"]
Numbers = float | tuple[float, ...]


@DATASETS.register("arrays", "npz", "npy", "numpy", "h5", "hdf5")
class Arrays(DatasetSource):
    """Arrays in a .npz, .npy or HDF5 file, or in a folder of .npy files; the first axis counts the samples.

    `dtype`, `divide_by`, `mean`, `std`, `features` and `axes` are given for the only input, or as a
    mapping {input: value} where there are several. The network is given
    (stored / divide_by - mean) / std.
    """

    path: JobPath = Field(description=".npz, .npy, .h5, .hdf5, or a folder of .npy files")
    inputs: str | tuple[str, ...] = Field(
        default="X", description="array that is the input, or several in the network's order"
    )
    labels: str | None = Field(default=None, description="array of labels in the same file")
    labels_path: JobPath | None = Field(default=None, description="a .npy file of labels")
    dtype: DType | dict[str, DType] | None = Field(
        default=None, description="type to convert to; null keeps the stored one, or float32 if it is scaled"
    )
    divide_by: float | dict[str, float] = Field(default=1.0, description="255 for images stored as bytes")
    mean: Numbers | dict[str, Numbers] | None = Field(
        default=None, description="subtracted, per feature or channel"
    )
    std: Numbers | dict[str, Numbers] | None = Field(
        default=None, description="divided by, per feature or channel"
    )
    features: tuple[str, ...] | dict[str, tuple[str, ...]] = Field(
        default=(), description="names along the last axis"
    )
    axes: tuple[str, ...] | dict[str, tuple[str, ...]] = Field(
        default=(), description="labels of the axes of a sample"
    )
    texts: tuple[str, ...] = Field(
        default=(), description="arrays of texts that are shown beside the maps, such as smiles"
    )

    def open(self) -> Samples:
        """Map the arrays and read the labels.

        Raises:
            DataError: an array is missing, damaged, of objects or texts, or of another length.
        """
        file = open_array_file(self.path, "dataset.path")
        try:
            return self._samples(file)
        except BaseException:
            file.close()
            raise

    def _samples(self, file: ArrayFile) -> Samples:
        wanted = (self.inputs,) if isinstance(self.inputs, str) else self.inputs
        if self._is_single and len(wanted) > 1:
            raise DataError(f"dataset.inputs: {self.path} holds one array; {len(wanted)} are asked for.")
        names = _short_names(wanted)
        columns = [self._column(file, w, n, names) for w, n in zip(wanted, names, strict=True)]
        labels = self._labels(file)
        texts = {name.replace("/", "."): _read_texts(file, name) for name in self.texts}
        files = self._files(file, wanted)
        return ArraySamples(
            columns,
            labels,
            fingerprint=combined(each.digest for each in files),
            texts=texts,
            files=files,
            on_close=file.close,
            column=lambda name: np.array(file.array(name, "target.column")[:]),
        )

    @property
    def _is_single(self) -> bool:
        return self.path.suffix.lower() == ".npy" and self.path.is_file()

    def _column(self, file: ArrayFile, column: str, name: str, names: Sequence[str]) -> Column:
        stored = self._stored(file, column, name)
        shape = tuple(stored.shape[1:])
        offset, scale = self._scaling(name, names, shape)
        dtype = _for_input(self.dtype, name, names, "dataset.dtype", None)
        features = _for_input(self.features, name, names, "dataset.features", ())
        axes = _for_input(self.axes, name, names, "dataset.axes", ()) or default_axes(shape)
        _check_names(features, shape[-1:], "dataset.features")
        spec = InputSpec(
            name, shape, _delivered(stored.dtype, dtype, scale is not None), axes, features, offset, scale
        )
        return Column(spec, stored)

    def _stored(self, file: ArrayFile, column: str, name: str) -> Sliceable:
        """The array of an input, (samples, *shape)."""
        stored = file.array(column, "dataset.inputs")
        check_samples(stored, f"dataset.inputs: {column!r} in {file.path}")
        return stored

    def _scaling(
        self, name: str, names: Sequence[str], shape: tuple[int, ...]
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Offset and scale of (stored - offset) / scale; None if nothing is asked for."""
        divisor = _for_input(self.divide_by, name, names, "dataset.divide_by", 1.0)
        mean = _for_input(self.mean, name, names, "dataset.mean", None)
        std = _for_input(self.std, name, names, "dataset.std", None)
        if divisor == 1.0 and mean is None and std is None:
            return None, None
        if divisor == 0:
            raise DataError("dataset.divide_by: 0.0: must not be 0.")
        offset = per_feature(0.0 if mean is None else mean, shape, "dataset.mean") * divisor
        scale = per_feature(1.0 if std is None else std, shape, "dataset.std")
        return offset, nonzero_scale(scale) * divisor

    def _labels(self, file: ArrayFile) -> Labels | None:
        if self.labels is not None and self.labels_path is not None:
            raise DataError("dataset.labels: give either labels or labels_path, not both.")
        if self.labels_path is not None:
            if self.labels_path.suffix.lower() != ".npy":
                raise DataError(f"dataset.labels_path: {self.labels_path}: a .npy file is needed.")
            labels_file = open_array_file(self.labels_path, "dataset.labels_path")
            return self._read_labels(labels_file, self.labels_path.stem, "dataset.labels_path")
        if self.labels is None:
            return None
        if self._is_single:
            raise DataError(f"dataset.labels: {self.path} holds one array; name a .npy file in labels_path.")
        return self._read_labels(file, self.labels, "dataset.labels")

    def _read_labels(self, file: ArrayFile, name: str, key: str) -> Labels:
        stored = file.array(name, key)
        return as_labels(np.array(stored[:]) if stored.shape else np.empty(()), key, self.known_classes)

    def _files(self, file: ArrayFile, names: Sequence[str]) -> list[HashedFile]:
        labels = [self.labels] if self.labels else []
        paths = [*file.files([*names, *labels, *self.texts]), *([self.labels_path] if self.labels_path else [])]
        return [hash_file(path) for path in paths]


def _read_texts(file: ArrayFile, name: str) -> list[str]:
    """An array of texts, (n,)."""
    stored = file.array(name, "dataset.texts")
    values = np.array(stored[:]) if len(stored.shape) == 1 else np.empty(())
    if values.dtype.kind not in "OSU":
        raise DataError(
            f"dataset.texts: {name!r} in {file.path} is {stored.dtype} {tuple(stored.shape)}; texts of shape (n,) "
            "are needed."
        )
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in values]


def _short_names(names: Sequence[str]) -> list[str]:
    """The last parts of dotted or slashed names, where these differ from each other."""
    short = [name.replace("/", ".").rpartition(".")[2] for name in names]
    return short if len(set(short)) == len(short) else [name.replace("/", ".") for name in names]


def _for_input(
    option: Value | Mapping[str, Value], name: str, names: Sequence[str], key: str, default: Value
) -> Value:
    """The part of an option that concerns one of the inputs."""
    if not isinstance(option, Mapping):
        if len(names) > 1 and option not in (default, None):
            raise DataError(f"{key}: there are several inputs; write {{{names[0]}: {option}}}.")
        return option
    for other in option:
        if other not in names:
            raise DataError(f"{key}: there is no input {other!r}.{suggestion(other, names)}")
    return cast(Mapping[str, Value], option).get(name, default)


def _check_names(features: Sequence[str], last: tuple[int, ...], key: str) -> None:
    if features and last != (len(features),):
        raise DataError(f"{key}: {len(features)} names, but the last axis has {last[0] if last else 0} values.")


def _delivered(stored: np.dtype[Any], dtype: str | None, scaled: bool) -> np.dtype[Any]:
    """Type that the network is given, in the machine's byte order."""
    if dtype is not None:
        return np.dtype(dtype)
    if scaled and stored.kind != "f":
        return np.dtype(np.float32)
    return stored.newbyteorder("=")
