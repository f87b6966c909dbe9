"""Shares of a variance with standard errors, from the spread of independent replicates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

__all__ = ["NORMAL_95", "ReplicateEstimate", "mean_of", "share_of", "student_factor"]

NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class ReplicateEstimate:
    """Values and their standard errors, of the same shape."""

    value: Tensor
    standard_error: Tensor


def mean_of(values: Tensor) -> ReplicateEstimate:
    """Mean of values (replicates, ...), with a standard error as in `share_of`."""
    mean = values.mean(dim=0)
    return ReplicateEstimate(mean, _standard_error(values - mean))


def share_of(parts: Tensor, whole: Tensor) -> ReplicateEstimate:
    """Mean of the parts over the mean of the whole, with the standard error of that ratio.

    The standard error comes from the residuals of the replicates, part − share · whole (the delta method),
    and is widened so that ± 1.96 of it is Student's 95 % interval: a spread over few replicates is itself
    uncertain.

    Arguments:
        parts: (replicates, ..., targets).
        whole: (replicates, targets); where its mean is 0 there is no share, and the result is NaN.
    """
    whole = whole.view(len(whole), *[1] * (parts.ndim - 2), -1)
    scale = whole.mean(dim=0)
    share = parts.mean(dim=0) / scale
    return ReplicateEstimate(share, _standard_error(parts - share * whole) / scale)


def _standard_error(residuals: Tensor) -> Tensor:
    count = len(residuals)
    spread = residuals.square().sum(dim=0) / (count * (count - 1))
    return student_factor(count - 1) * spread.sqrt()


def student_factor(freedom: int) -> float:
    """Student's 97.5th percentile over the normal one; to three digits from 3 degrees of freedom on.

    Reference: the expansion in 1 / freedom of Abramowitz and Stegun 1964, 26.7.5.
    """
    z, n = NORMAL_95, freedom
    terms = [
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    ]
    return math.fsum([z, *(term / n**power for power, term in enumerate(terms, 1))]) / z
