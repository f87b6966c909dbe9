"""Checks of the values of a dataset."""

from __future__ import annotations

import numpy as np

from ..samples import Batch
from .base import Samples

__all__ = ["finite_rows", "nonfinite_samples"]


def finite_rows(batch: Batch) -> np.ndarray:
    """(n,) bool: whether every floating value of each sample is finite."""
    finite = np.ones(len(batch), dtype=bool)
    for values in batch.inputs.values():
        if values.dtype.kind == "f":
            finite &= np.isfinite(values).reshape(len(batch), -1).all(axis=1)
    return finite


def nonfinite_samples(samples: Samples, start: int, stop: int) -> np.ndarray:
    """Positions (int64) of the samples start ≤ i < stop with a NaN or an infinity in any input."""
    batch = samples.read(start, stop)
    positions: np.ndarray = batch.index[~finite_rows(batch)]
    return positions
