"""Points of the input space that several rows want at once: each a sample, but another target."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["neighbours"]


def neighbours(identity: Tensor) -> tuple[Tensor, Tensor] | None:
    """An order in which equal points are neighbours, those that are wanted most often first.

    Arguments:
        identity: (k,) int64, equal for points that are the same.

    Returns:
        (k,) the order, and (k,) the number of each point's place in it, from 0 on; None if all points differ.
    """
    _, place, count = torch.unique(identity, return_inverse=True, return_counts=True)
    if len(count) == len(identity):
        return None
    order = torch.argsort((count.max() - count[place]) * len(count) + place, stable=True)
    _, numbered = torch.unique_consecutive(place[order], return_inverse=True)
    return order, numbered
