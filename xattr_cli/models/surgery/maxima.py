"""Maxima without kinks: log-sum-exp `ln Σ e^{βz} / β`.

It is the maximum that goes with softplus: since `max(a, b) = b + max(a − b, 0)`, replacing that ramp by softplus
gives `ln(e^{βa} + e^{βb}) / β`, and likewise for more numbers in any order. It lies above the maximum of k numbers
by at most `ln k / β`, where all are equal; its gradient is the softmax of `βz`, whose weights add up to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["amax", "amin", "max_or_maximum", "maximum", "min_or_minimum", "minimum"]


def maximum(beta: float, input: Tensor, other: Tensor) -> Any:
    """`ln(e^{βa} + e^{βb}) / β`."""
    # not logaddexp, whose second derivative is 0 · ∞ where one number is far above the other
    together = torch.stack(torch.broadcast_tensors(*_alike(input, other)))  # type: ignore[no-untyped-call]
    return torch.logsumexp(beta * together, dim=0) / beta


def minimum(beta: float, input: Tensor, other: Tensor) -> Any:
    """`−ln(e^{−βa} + e^{−βb}) / β`."""
    return -maximum(beta, -input, -other)


def amax(beta: float, input: Tensor, dim: int | Sequence[int] = (), keepdim: bool = False) -> Tensor:
    """(...) `ln Σ e^{βz} / β` over one axis, over several, or over all."""
    axes = [dim] if isinstance(dim, int) else list(dim) or list(range(input.ndim))
    return torch.logsumexp(beta * input, axes, keepdim) / beta


def amin(beta: float, input: Tensor, dim: int | Sequence[int] = (), keepdim: bool = False) -> Tensor:
    """(...) `−ln Σ e^{−βz} / β`, over the same axes."""
    return -amax(beta, -input, dim, keepdim)


def max_or_maximum(beta: float, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """What `torch.max` means: of all numbers, of two tensors, or along an axis, with the indices of maxima."""
    second = args[0] if args else kwargs.get("other")
    if isinstance(second, Tensor):
        return maximum(beta, input, second)
    if not args and not kwargs:
        return amax(beta, input)
    with torch.no_grad():
        indices = torch.max(input, *args, **kwargs).indices
    return torch.return_types.max((amax(beta, input, *args, **kwargs), indices))


def min_or_minimum(beta: float, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    """What `torch.min` means; see `max_or_maximum`."""
    second = args[0] if args else kwargs.get("other")
    if isinstance(second, Tensor):
        return minimum(beta, input, second)
    if not args and not kwargs:
        return amin(beta, input)
    with torch.no_grad():
        indices = torch.min(input, *args, **kwargs).indices
    return torch.return_types.min((amin(beta, input, *args, **kwargs), indices))


def _alike(input: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.result_type(input, other)
    return input.to(dtype), other.to(dtype)
