"""Baselines that somebody computed beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from pydantic import Field

from ..datasets.array_files import ArrayFile, open_array_file
from ..datasets.base import Samples
from ..datasets.columns import Sliceable, check_numbers
from ..errors import DataError
from ..fingerprint import fingerprint_file
from ..job.config import JobPath
from ..registry import BASELINES
from ..samples import Batch, InputSpec
from .base import Baseline, BoundBaseline, FixedBaseline, explained_specs

__all__ = ["BaselineFile", "bind_arrays", "checked_baselines"]

_BLOCK_VALUES = 2**21


@BASELINES.register("file")
class BaselineFile(Baseline):
    """Baselines from a .npy or .npz file, in the units that the network is given.

    An array of a sample's shape, or a single entry, serves every sample; one with as many entries as the
    dataset has samples holds a baseline each; any number of entries makes a background.
    """

    path: JobPath = Field(description=".npy, or .npz")
    key: str | None = Field(
        default=None, description="array in a .npz; null takes those named as the inputs, or the only one"
    )

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Open the arrays.

        Raises:
            DataError: the file is missing or damaged; a shape does not fit; values are not finite.
        """
        specs = explained_specs(samples, inputs)
        if self.path.suffix.lower() not in (".npy", ".npz"):
            raise DataError(f"baseline.path: {self.path}: a .npy or .npz file is needed.")
        file = open_array_file(self.path, "baseline.path")
        arrays = {spec.name: self._array(file, spec, len(specs)) for spec in specs}
        return bind_arrays(arrays, specs, samples, f"baseline.path: {self.path.name}", fingerprint_file(self.path))

    def _array(self, file: ArrayFile, spec: InputSpec, count: int) -> Sliceable:
        """One baseline, in memory, or the array of many in its file."""
        names = file.names()
        if self.key is not None and count > 1:
            raise DataError(
                f"baseline.key: {count} inputs are explained; leave it out and name the arrays as the inputs."
            )
        only = names[0] if len(names) == count == 1 else spec.name
        name = self.key or only
        stored = file.array(name, "baseline.key")
        where = f"baseline.path: {self.path}, array {name!r}"
        return checked_baselines(stored, spec, where)


def checked_baselines(stored: Sliceable, spec: InputSpec, where: str) -> Sliceable:
    """Baselines of an input: one, in memory, or as many as are stored.

    Raises:
        DataError: the shape does not fit, or values are not finite. `where` begins the message.
    """
    check_numbers(stored, where)
    if spec.shape not in (stored.shape, stored.shape[1:]):
        raise DataError(
            f"{where} has shape {stored.shape}; input {spec.name!r} needs {spec.shape}, "
            f"or (baselines, {', '.join(map(str, spec.shape))})."
        )
    if 0 in stored.shape:
        raise DataError(f"{where} is empty.")
    array = np.asarray(stored) if stored.shape == spec.shape else stored
    _refuse_nonfinite(array, where)
    return array


def bind_arrays(
    arrays: Mapping[str, Sliceable], specs: Sequence[InputSpec], samples: Samples, where: str, fingerprint: str
) -> BoundBaseline:
    """Arrays, as `checked_baselines` returns them, as a baseline of a dataset.

    Arguments:
        arrays: name → (*shape) or (baselines, *shape).
        specs: of the explained inputs.
        samples: the dataset that is explained.
        where: begins every error.
        fingerprint: of the arrays.
    """
    if all(arrays[spec.name].shape in (spec.shape, (1, *spec.shape)) for spec in specs):
        single = {spec.name: np.asarray(arrays[spec.name]).reshape(spec.shape) for spec in specs}
        return FixedBaseline(single, fingerprint)
    return _ManyBaselines(arrays, specs, samples, where, fingerprint)


class _ManyBaselines(BoundBaseline):
    """A baseline per sample of the dataset, or a background, or both."""

    def __init__(
        self,
        arrays: Mapping[str, Sliceable],
        specs: Sequence[InputSpec],
        samples: Samples,
        where: str,
        fingerprint: str,
    ) -> None:
        self._arrays: dict[str, Sliceable] = {
            s.name: np.asarray(a)[np.newaxis] if a.shape == s.shape else a for s in specs for a in [arrays[s.name]]
        }
        self._where = where
        self._samples = (len(samples), samples.available)
        self.fingerprint = fingerprint
        counts = {array.shape[0] for array in self._arrays.values()}
        if len(counts) > 1:
            raise DataError(f"{where}: the inputs have {sorted(counts)} baselines; make them equal.")
        self._count = counts.pop()

    def reference(self, batch: Batch) -> dict[str, np.ndarray]:
        if self._count not in self._samples:
            raise DataError(
                f"{self._where} holds {self._count} baselines for {self._samples[0]} samples. "
                "Give one, or one per sample; or use the engine expected_gradients, which takes a background."
            )
        first, last = int(batch.index.min()), int(batch.index.max())
        return {
            name: np.asarray(array[first : last + 1])[batch.index - first].astype(batch.inputs[name].dtype)
            for name, array in self._arrays.items()
        }

    def background(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(array) for name, array in self._arrays.items()}


def _refuse_nonfinite(array: Sliceable, where: str) -> None:
    entries = array if array.shape else np.atleast_1d(np.asarray(array))
    step = max(1, _BLOCK_VALUES // prod(entries.shape[1:]))
    for start in range(0, entries.shape[0], step):
        if not np.isfinite(entries[start : start + step]).all():
            raise DataError(f"{where} holds NaN or infinite values.")
