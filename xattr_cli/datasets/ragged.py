"""Sequences of different lengths, stored one after the other and read as one padded array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from .columns import Sliceable

__all__ = ["RaggedArray", "check_lengths", "is_ragged", "ragged_array"]


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
