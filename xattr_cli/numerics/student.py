"""Student's factor: by how much a standard error from few values is widened, as it is itself uncertain."""

from __future__ import annotations

import math

__all__ = ["NORMAL_95", "student_factor"]

NORMAL_95 = 1.959963984540054
_FEWEST = {1: 12.706204736432095, 2: 4.302652729911275}  # where the expansion fails


def student_factor(freedom: int) -> float:
    """Student's 97.5th percentile over the normal one; to three digits.

    ± 1.96 standard errors that are widened by it are a 95 % interval.

    Reference: the expansion in 1 / freedom of Abramowitz and Stegun 1964, 26.7.5.

    Arguments:
        freedom: degrees of freedom of the standard error, one less than the values that it comes from.

    Example:
        >>> round(1.96 * student_factor(4), 3)
        2.776
    """
    z, n = NORMAL_95, freedom
    if n in _FEWEST:
        return _FEWEST[n] / z
    terms = [
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    ]
    return math.fsum([z, *(term / n**power for power, term in enumerate(terms, 1))]) / z
