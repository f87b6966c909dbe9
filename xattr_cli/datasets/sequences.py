"""Datasets of sequences of different lengths: arrays of steps in .npz, .h5 or a folder of .npy files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from ..errors import DataError, suggestion
from ..registry import DATASETS
from .array_files import ArrayFile
from .arrays import Arrays
from .base import Samples
from .columns import Sliceable
from .padded import HandOver, PaddedSamples, PaddedSequence, RaggedArray, check_lengths

__all__ = ["Sequences"]


@DATASETS.register("sequences", "time_series", "series")
class Sequences(Arrays):
    """Sequences of different lengths, with zeros at their end up to the longest one.

    An input is stored either as (all steps, ...), one sample after the other, or as (samples, steps, ...),
    already padded; `lengths` tells the steps of each sample. Steps that are padding get an attribution of
    exactly 0, and calls of the network are no longer than their longest sample where it bears that.
    """

    lengths: str | dict[str, str] = Field(
        default="lengths",
        description="array with the number of steps of every sample, in the same file; {input: array} where "
        "inputs run along different sequences",
    )
    packed: bool | None = Field(
        default=None,
        description="whether inputs are stored as (all steps, ...) or (samples, steps, ...); null: as they look",
    )
    hand_over: HandOver = Field(
        default="none",
        description="what the network is given as further inputs: the lengths (n,), or masks (n, steps), True "
        "where a step is real",
    )

    def _samples(self, file: ArrayFile) -> Samples:
        samples = super()._samples(file)
        try:
            steps = {spec.name: spec.shape[0] for spec in samples.inputs if self._array_of_lengths(spec.name)}
            return PaddedSamples(samples, self._sequences(file, steps), self.hand_over)
        except BaseException:
            samples.close()
            raise

    def _stored(self, file: ArrayFile, column: str, name: str) -> Sliceable:
        stored = super()._stored(file, column, name)
        of_lengths = self._array_of_lengths(name)
        if of_lengths is None:
            return stored
        lengths = self._read_lengths(file, of_lengths)
        where = f"dataset.inputs: {column!r} in {file.path}"
        looks_padded = stored.shape[0] == len(lengths) and stored.shape[1:2] >= (lengths.max(),)
        looks_packed = stored.shape[0] == lengths.sum()
        if looks_padded and looks_packed and self.packed is None:
            raise DataError(f"{where} may be packed or padded, as all lengths are 1: set dataset.packed.")
        if looks_packed and self.packed is not False:
            return RaggedArray(stored, lengths)
        if looks_padded and not self.packed:
            return stored
        raise DataError(
            f"{where} has shape {tuple(stored.shape)}, but {of_lengths!r} tells of {len(lengths)} samples with "
            f"{lengths.sum()} steps, {lengths.max()} at most. Store (all steps, ...) or (samples, steps, ...)."
        )

    def _array_of_lengths(self, name: str) -> str | None:
        """Name of the array with the lengths of an input; None if the input is no sequence."""
        return self.lengths if isinstance(self.lengths, str) else self.lengths.get(name)

    def _read_lengths(self, file: ArrayFile, name: str) -> np.ndarray:
        lengths = np.array(file.array(name, "dataset.lengths")[:])
        key = f"dataset.lengths: {name!r} in {file.path}"
        check_lengths(lengths, key)
        if not len(lengths):
            raise DataError(f"{key}: the dataset is empty.")
        return lengths.astype(np.int64)

    def _sequences(self, file: ArrayFile, steps: Mapping[str, int]) -> tuple[PaddedSequence, ...]:
        """The sequences, and the inputs that run along each; `steps` is input -> padded length."""
        if isinstance(self.lengths, dict):
            for name in self.lengths:
                if name not in steps:
                    raise DataError(f"dataset.lengths: there is no input {name!r}.{suggestion(name, steps)}")
        along: dict[str, list[str]] = {}
        for name in steps:
            along.setdefault(str(self._array_of_lengths(name)), []).append(name)
        return tuple(self._sequence(file, lengths, names, steps) for lengths, names in along.items())

    def _sequence(
        self, file: ArrayFile, lengths: str, names: Sequence[str], steps: Mapping[str, int]
    ) -> PaddedSequence:
        padded = {steps[name] for name in names}
        if len(padded) > 1:
            raise DataError(
                f"dataset.inputs: {', '.join(names)} run along {lengths!r}, but are padded to different lengths: "
                f"{sorted(padded)}."
            )
        return PaddedSequence(lengths, self._read_lengths(file, lengths), padded.pop(), tuple(names))
