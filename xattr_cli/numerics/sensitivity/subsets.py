"""Subsets of a few elements as numbers: bit j of a number says whether element j belongs to the subset."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["memberships", "subset_sizes", "subset_worths", "walsh_hadamard"]


def memberships(count: int) -> Tensor:
    """(2^count, count) bool, which elements belong to each subset."""
    return (torch.arange(2**count)[:, None] >> torch.arange(count) & 1).bool()


def subset_sizes(count: int) -> Tensor:
    """(2^count,) int64, how many elements each subset has."""
    return memberships(count).sum(dim=1)


def subset_worths(parts: Tensor) -> Tensor:
    """(2^d, ...) sum over all T that S holds of parts[T], for every subset S, from parts (2^d, ...)."""
    found = parts.clone()
    length = 1
    while length < len(found):
        pairs = found.view(-1, 2, length, *parts.shape[1:])
        pairs[:, 1] += pairs[:, 0]
        length *= 2
    return found


def walsh_hadamard(values: Tensor) -> Tensor:
    """Σ over subsets T of (−1)^|S ∩ T| · values[T], for every subset S.

    By butterflies: where values do not depend on element j, every result with j in S is exactly zero.

    Arguments:
        values: (2^d, ...).
    """
    found, length = values, 1
    while length < len(values):
        pairs = found.view(-1, 2, length, *values.shape[1:])
        sums = torch.empty_like(pairs)
        torch.add(pairs[:, 0], pairs[:, 1], out=sums[:, 0])
        torch.sub(pairs[:, 0], pairs[:, 1], out=sums[:, 1])
        found, length = sums.flatten(0, 2), 2 * length
    return found
