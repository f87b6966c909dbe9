"""Shares of a variance with standard errors, from the spread of independent replicates."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..student import student_factor

__all__ = ["ReplicateEstimate", "mean_of", "share_of"]


@dataclass(frozen=True)
class ReplicateEstimate:
    """Values and their standard errors, of the same shape.

    Example:
        >>> import torch
        >>> mean_of(torch.tensor([1.0, 3.0])).value.item()
        2.0
    """

    value: Tensor
    standard_error: Tensor


def mean_of(values: Tensor) -> ReplicateEstimate:
    """Mean of values (replicates, ...), with a standard error as in `share_of`.

    Example:
        >>> import torch
        >>> round(1.96 * mean_of(torch.tensor([1.0, 3.0])).standard_error.item(), 1)  # 12.7 · 1
        12.7
    """
    mean = values.mean(dim=0)
    return ReplicateEstimate(mean, _standard_error(values - mean, len(values) - 1))


def share_of(parts: Tensor, whole: Tensor) -> ReplicateEstimate:
    """Mean of the parts over the mean of the whole, with the standard error of that ratio.

    The standard error comes from the residuals of the replicates, part − share · whole (the delta method),
    and is widened so that ± 1.96 of it is Student's 95 % interval: a spread over few replicates is itself
    uncertain. Of the degrees of freedom, one more is taken for the ratio, and for stopping as soon as few
    replicates happen to agree: with four of them, 92 % became 95 %.

    Arguments:
        parts: (replicates, ..., targets).
        whole: (replicates, targets); where its mean is 0 there is no share, and the result is NaN.

    Example:
        >>> import torch
        >>> share_of(torch.tensor([[[1.0], [3.0]]]).mT.repeat(4, 1, 1), torch.full((4, 1), 4.0)).value.tolist()
        [[0.25, 0.75]]
    """
    whole = whole.view(len(whole), *[1] * (parts.ndim - 2), -1)
    scale = whole.mean(dim=0)
    share = parts.mean(dim=0) / scale
    return ReplicateEstimate(share, _standard_error(parts - share * whole, len(whole) - 2) / scale)


def _standard_error(residuals: Tensor, freedom: int) -> Tensor:
    count = len(residuals)
    spread = residuals.square().sum(dim=0) / (count * (count - 1))
    return student_factor(freedom) * spread.sqrt()
