"""Means over rows with honest standard errors, and differences between methods on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Estimate", "estimate"]


@dataclass(frozen=True)
class Estimate:
    """A mean over rows.

    Attributes:
        mean: of the values; NaN if there are none.
        standard_error: of the mean, if the samples are a random choice; NaN with fewer than two samples.
    """

    mean: float
    standard_error: float


def estimate(values: np.ndarray, samples: np.ndarray) -> Estimate:
    """The mean of values, and its standard error.

    Rows of one sample (several targets of it) are no independent evidence: what is independent is the
    sample. With n rows in G samples the squared error is G / (G − 1) · Σ_g (Σ_i∈g (v_i − mean))² / n², which
    for one row per sample is the usual s² / n. For a paired comparison give the differences row by row.

    Reference: Liang and Zeger 1986, Biometrika 73(1), the sandwich estimator of a mean.

    Arguments:
        values: (rows,), finite.
        samples: (rows,), which sample each row explains.
    """
    rows = len(values)
    if rows == 0:
        return Estimate(np.nan, np.nan)
    mean = float(values.mean())
    _, cluster = np.unique(samples, return_inverse=True)
    deviations = np.bincount(cluster, weights=values - mean)
    clusters = len(deviations)
    if clusters < 2:
        return Estimate(mean, np.nan)
    square = clusters / (clusters - 1) * float(deviations @ deviations)
    return Estimate(mean, float(np.sqrt(square)) / rows)
