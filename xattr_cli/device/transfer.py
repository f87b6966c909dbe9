"""Samples in page-locked memory, which a CUDA device reads by itself while the program goes on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..samples import Batch

__all__ = ["page_locked"]


def page_locked(batch: Batch, device: torch.device) -> Batch:
    """A batch whose inputs are copied to a CUDA device without delay; the same batch for any other device.

    Meant for the thread that reads: pages of mapped files are then in memory before anybody waits for them.
    Where the system lends no page-locked memory, inputs stay where they are.
    """
    if device.type != "cuda":
        return batch
    inputs = {name: _locked(values) for name, values in batch.inputs.items()}
    real = {name: _locked(mask) for name, mask in batch.real.items()}
    return replace(batch, inputs=inputs, real=real)


def _locked(array: np.ndarray) -> np.ndarray:
    """A copy with the same values."""
    try:
        dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
        copy: np.ndarray = torch.empty(array.shape, dtype=dtype, pin_memory=True).numpy()
    except (RuntimeError, TypeError):  # no CUDA, no memory to lock, or numbers that torch does not have
        return array
    np.copyto(copy, array)
    return copy
