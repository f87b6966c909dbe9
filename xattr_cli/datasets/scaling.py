"""Affine scaling of inputs, per feature of a vector or sequence, per channel of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DataError

__all__ = ["default_axes", "nonzero_scale", "per_feature"]

_AXES = {
    1: ("feature",),
    2: ("step", "feature"),
    3: ("channel", "height", "width"),
    4: ("channel", "depth", "height", "width"),
}


def default_axes(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Labels of the axes of a sample, by their number; empty where no convention exists."""
    return _AXES.get(len(shape), ())


def per_feature(values: float | Sequence[float], shape: tuple[int, ...], key: str) -> np.ndarray:
    """One number for all, or a number per feature or channel, shaped to broadcast against a sample.

    The numbers run along the first axis of a sample with three axes or more (channels), else along
    the last one (features).

    Arguments:
        values: a number, or as many as the axis is long.
        shape: of one sample.
        key: dotted key of the job file, for the error.

    Returns:
        float64, such as (C, 1, 1) for an image and (F,) for a vector.

    Raises:
        DataError: another count than the axis is long.
    """
    flat = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if not shape:
        length, spread = 1, shape
    elif len(shape) >= 3:
        length, spread = shape[0], (shape[0], *[1] * (len(shape) - 1))
    else:
        length, spread = shape[-1], shape[-1:]
    if len(flat) not in (1, length):
        raise DataError(f"{key}: {len(flat)} numbers for inputs of shape {shape}; give one, or {length}.")
    return np.broadcast_to(flat, (length,)).reshape(spread).copy()


def nonzero_scale(scale: np.ndarray) -> np.ndarray:
    """(*shape) the scale with 1 where it is 0: a constant feature is shifted but not divided."""
    return np.where(scale == 0, 1.0, scale)
