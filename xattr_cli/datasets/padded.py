"""Samples that are sequences of different lengths, padded with zeros to one; which steps are real is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..samples import Batch, InputSpec
from .base import Samples

__all__ = ["HandOver", "PaddedSamples", "Sequence"]

HandOver = Literal["lengths", "mask", "none"]


@dataclass(frozen=True)
class Sequence:
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


class PaddedSamples(Samples):
    """Samples of a dataset some of whose inputs are padded sequences.

    Padding is zero as the network is given it, whatever the stored array has there.

    Arguments:
        samples: with all inputs at full length.
        sequences: what they run along.
        hand_over: whether the network is given the lengths (n,) int64, or masks (n, steps) bool, as
            further inputs; those are never explained.
    """

    def __init__(self, samples: Samples, sequences: tuple[Sequence, ...], hand_over: HandOver = "none") -> None:
        self._samples = samples
        self._sequences = sequences
        self._hand_over = hand_over
        along = {name: sequence.name for sequence in sequences for name in sequence.inputs}
        padded = (replace(spec, sequence=along.get(spec.name, "")) for spec in samples.inputs)
        self.inputs = (*padded, *self._handed_specs())
        self.classes = samples.classes
        self.fingerprint = samples.fingerprint
        self.vocabulary = samples.vocabulary

    def __len__(self) -> int:
        return len(self._samples)

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

    def known_labels(self) -> np.ndarray | None:
        return self._samples.known_labels()

    def close(self) -> None:
        self._samples.close()

    def _handed_specs(self) -> tuple[InputSpec, ...]:
        if self._hand_over == "none":
            return ()
        return tuple(self._handed_spec(sequence) for sequence in self._sequences)

    def _handed_spec(self, sequence: Sequence) -> InputSpec:
        if self._hand_over == "lengths":
            return InputSpec(sequence.name, (), np.dtype(np.int64), explainable=False)
        name = "mask" if len(self._sequences) == 1 else f"{sequence.name}_mask"
        shape = (sequence.steps,)
        return InputSpec(name, shape, np.dtype(bool), ("step",), sequence=sequence.name, explainable=False)
