"""Pairs (U, V) of independent uniform points: the two halves of one scrambled Sobol' sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

__all__ = ["paired_draws"]

_HALF_STEP = 2.0**-31  # the sequence has 30 bits: the middle of each cell, so that no point is 0


def paired_draws(dims: int, seed: int, first: int, count: int) -> tuple[Tensor, Tensor]:
    """Draws number `first` to `first + count − 1` of U and V, each (count, dims) float64 in (0, 1).

    A sequence in 2 · dims dimensions, scrambled by a random matrix and shift (Matoušek 1998), is cut into
    halves: U and V are independent, and together more even than any random points; blocks of 2^k draws that
    begin at a multiple of 2^k are balanced. What lies beyond the sequence's 21,201
    dimensions is drawn at random.

    Arguments:
        dims: coordinates of U, and of V.
        seed: of the scrambling; other seeds give independent draws.
        first, count: which draws.

    Example:
        >>> u, v = paired_draws(2, 0, 0, 8)
        >>> (u[:, 0] * 8).floor().sort().values.tolist()  # one in each eighth
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    known = min(2 * dims, SobolEngine.MAXDIM)
    engine: Any = SobolEngine(known, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
    points = engine.fast_forward(first).draw(count, dtype=torch.float64) + _HALF_STEP
    if known < 2 * dims:
        points = torch.cat([points, _random_points(2 * dims - known, seed, first, count)], dim=1)
    return points[:, :dims], points[:, dims:]


def _random_points(dims: int, seed: int, first: int, count: int) -> Tensor:
    """(count, dims) uniform numbers that belong to the draws, whichever others are asked for with them."""
    rows = [np.random.Generator(np.random.Philox(key=[seed, first + i])).random(dims) for i in range(count)]
    return torch.from_numpy(np.stack(rows)).clamp(_HALF_STEP, 1 - _HALF_STEP)
