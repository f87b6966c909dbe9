"""Numpy arrays out of what Python code hands over: arrays, tensors, lists, numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError

__all__ = ["to_numpy"]


def to_numpy(value: Any, key: str) -> np.ndarray:
    """`value` as a numpy array; a tensor of any device comes without its graph.

    Raises:
        DataError: it is no array of numbers, or a ragged one. `key` begins the message.
    """
    try:
        tensor = value.detach().cpu() if hasattr(value, "detach") else value
        array = np.asarray(tensor)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{key}: {type(value).__name__} does not become an array: {error}") from error
    if array.dtype.kind not in "buifU":
        raise DataError(f"{key}: {type(value).__name__} becomes an array of {array.dtype}; numbers are needed.")
    return array
