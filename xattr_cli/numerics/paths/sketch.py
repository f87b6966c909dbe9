"""A few numbers that remember the length of a long vector: a count sketch, linear and cheap."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["CountSketch"]


class CountSketch:
    """Linear map R^D → R^size that keeps Euclidean lengths on average.

    Every coordinate gets a random sign and is added to the bucket of its position modulo `size`.
    The relative standard deviation of a squared length is at most sqrt(2 / size).
    Reference: Charikar, Chen, Farach-Colton 2002, "Finding frequent items in data streams".

    Arguments:
        dim: D.
        size: number of buckets; vectors shorter than this keep all their coordinates.
        device, dtype: of the vectors to come.

    Example:
        >>> short = CountSketch(2, 8, device=torch.device("cpu"), dtype=torch.float32)
        >>> short(torch.tensor([[3.0, 4.0]])).norm().item()
        5.0
    """

    def __init__(self, dim: int, size: int, *, device: torch.device, dtype: torch.dtype) -> None:
        # the signs are the same for every job, so that a row's error bar depends on nothing but the row
        generator = torch.Generator().manual_seed(0x5EED)
        signs = torch.randint(0, 2, (dim,), generator=generator) * 2 - 1
        self.size = min(dim, size)
        self._signs = signs.to(device=device, dtype=dtype)
        self._padding = -dim % self.size

    def __call__(self, vectors: Tensor) -> Tensor:
        """Sketch of (n, D) vectors, (n, size)."""
        signed = torch.nn.functional.pad(vectors * self._signs, (0, self._padding))
        return signed.reshape(len(vectors), -1, self.size).sum(dim=1)
