"""Samples that are sequences of different lengths, padded with zeros to one; which steps are real is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ..errors import DataError
from ..samples import Batch, InputSpec
from .base import Samples, WrappedSamples
from .columns import Sliceable

__all__ = [
    "HandOver",
    "PaddedSamples",
    "PaddedSequence",
    "RaggedArray",
    "check_lengths",
    "is_ragged",
    "ragged_array",
]

HandOver = Literal["lengths", "mask", "none"]


@dataclass(frozen=True)
class PaddedSequence:
    """A sequence that some inputs of every sample run along.

    Attributes:
        name: its name.
        lengths: (samples,) int64, number of real steps.
        steps: length that all samples are padded to.
        inputs: names of the inputs whose first axis runs along it.
    """

    name: str
    lengths: np.ndarray
    steps: int
    inputs: tuple[str, ...]

    def real(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, steps) bool, False where a step is padding."""
        real: np.ndarray = np.arange(self.steps) < self.lengths[start:stop, None]
        return real


class PaddedSamples(WrappedSamples):
    """Samples of a dataset some of whose inputs are padded sequences.

    Padding is zero as the network is given it, whatever the stored array has there.

    Arguments:
        samples: with all inputs at full length.
        sequences: what they run along.
        hand_over: whether the network is given the lengths (n,) int64, or masks (n, steps) bool, as
            further inputs; those are never explained.
    """

    def __init__(
        self, samples: Samples, sequences: tuple[PaddedSequence, ...], hand_over: HandOver = "none"
    ) -> None:
        super().__init__(samples)
        self._sequences = sequences
        self._hand_over = hand_over
        along = {name: sequence.name for sequence in sequences for name in sequence.inputs}
        padded = (replace(spec, sequence=along.get(spec.name, "")) for spec in samples.inputs)
        self.inputs = (*padded, *self._handed_specs())

    def read(self, start: int, stop: int) -> Batch:
        batch = self._samples.read(start, stop)
        real = {sequence.name: sequence.real(start, stop) for sequence in self._sequences}
        inputs = dict(batch.inputs)
        for spec in self.inputs:
            if spec.sequence and spec.name in inputs:
                self.clear(spec.name, inputs[spec.name], real[spec.sequence])
        for spec, sequence in zip(self._handed_specs(), self._sequences, strict=self._hand_over != "none"):
            is_mask = self._hand_over == "mask"
            inputs[spec.name] = real[sequence.name] if is_mask else sequence.lengths[start:stop].copy()
        return replace(batch, inputs=inputs, real=real, tokens=self.tokens(inputs, real))

    def clear(self, name: str, values: np.ndarray, real: np.ndarray) -> None:
        """Write what stands for padding into the padding of an input."""
        values[~real] = 0

    def tokens(self, inputs: Mapping[str, np.ndarray], real: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """What the steps are called, as `Batch.tokens`; nothing unless a kind of samples knows."""
        return {}

    def _handed_specs(self) -> tuple[InputSpec, ...]:
        if self._hand_over == "none":
            return ()
        return tuple(self._handed_spec(sequence) for sequence in self._sequences)

    def _handed_spec(self, sequence: PaddedSequence) -> InputSpec:
        if self._hand_over == "lengths":
            return InputSpec(sequence.name, (), np.dtype(np.int64), explainable=False)
        name = "mask" if len(self._sequences) == 1 else f"{sequence.name}_mask"
        shape = (sequence.steps,)
        return InputSpec(name, shape, np.dtype(bool), ("step",), sequence=sequence.name, explainable=False)


class RaggedArray:
    """An array (samples, steps, ...) of which only the steps that samples have are stored; zeros fill the rest.

    Arguments:
        flat: (all steps, ...), the samples one after the other.
        lengths: (samples,) steps of each.
        steps: of the padded array; None for those of the longest sample.
    """

    def __init__(self, flat: Sliceable, lengths: np.ndarray, steps: int | None = None) -> None:
        self._flat = flat
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self.lengths = np.asarray(lengths, dtype=np.int64)
        longest = int(self.lengths.max(initial=0)) if steps is None else steps
        self.shape: tuple[int, ...] = (len(self.lengths), longest, *flat.shape[1:])
        self.dtype: np.dtype[Any] = flat.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        padded = np.zeros((max(0, stop - start), *self.shape[1:]), self.dtype)
        if stop <= start:
            return padded
        first = int(self._ends[start] - self.lengths[start])
        stored = np.asarray(self._flat[first : int(self._ends[stop - 1])])
        real = np.arange(self.shape[1]) < self.lengths[start:stop, None]
        padded[real] = stored
        return padded


def is_ragged(value: object) -> bool:
    """Whether a value is a list of arrays that cannot be stacked as they are."""
    if not isinstance(value, list | tuple) or not all(hasattr(entry, "shape") for entry in value):
        return False
    return len({tuple(entry.shape) for entry in value}) > 1


def ragged_array(sequences: Sequence[np.ndarray], key: str) -> RaggedArray:
    """Arrays (steps, ...) of different lengths as one padded array.

    Raises:
        DataError: one has no steps, or differs in more than their number. `key` begins the message.
    """
    shapes = {sequence.shape[1:] for sequence in sequences}
    if len(shapes) > 1 or any(sequence.ndim == 0 for sequence in sequences):
        raise DataError(f"{key}: the arrays must have the same shape but for their first axis, the steps.")
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    check_lengths(lengths, key)
    return RaggedArray(np.concatenate(sequences), lengths)


def check_lengths(lengths: np.ndarray, key: str) -> None:
    """Refuse lengths that are none.

    Raises:
        DataError: not (n,) integers, or less than 1. `key` begins the message.
    """
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise DataError(f"{key}: lengths must be integers of shape (n,), not {lengths.dtype} {lengths.shape}.")
    if (wrong := np.flatnonzero(lengths < 1)).size:
        raise DataError(
            f"{key}: sample {wrong[0]} has length {lengths[wrong[0]]}; every sample needs a step or more."
        )
