"""How far two sets of maps are from each other, row by row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["ROUNDING", "MapDifferences", "differences", "rank_correlation", "ranks"]

ROUNDING = 1e-4
"""Relative distance that float32 on two machines may make; added to the error bars."""


@dataclass(frozen=True)
class MapDifferences:
    """Differences of matched rows, each (rows,); NaN where a map is not finite.

    Attributes:
        distance: ‖b − a‖ / max(‖a‖, ‖b‖); 0 if both are 0.
        rank_correlation: Spearman's, of all numbers of the two maps.
        sign_flips: share of all numbers that have opposite signs.
        allowed: both error bars together, and rounding, as a share of max(‖a‖, ‖b‖); NaN where one is unknown.
        beyond: bool, whether ‖b − a‖ is more than both error bars together, and more than rounding.
        judged: bool, whether both maps are finite and have an error bar.
    """

    distance: np.ndarray
    rank_correlation: np.ndarray
    sign_flips: np.ndarray
    allowed: np.ndarray
    beyond: np.ndarray
    judged: np.ndarray


def differences(a: np.ndarray, b: np.ndarray, error_a: np.ndarray, error_b: np.ndarray) -> MapDifferences:
    """Compare maps.

    Arguments:
        a, b: (rows, D).
        error_a, error_b: (rows,) reported relative errors: bounds of ‖map − truth‖ / ‖map‖.

    Example:
        >>> a, b = np.array([[3.0, 4.0]]), np.array([[3.0, -4.0]])
        >>> found = differences(a, b, np.array([0.1]), np.array([0.1]))
        >>> found.distance, found.sign_flips, found.beyond
        (array([1.6]), array([0.5]), array([ True]))
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    size_a, size_b, apart = (np.linalg.norm(values, axis=1) for values in (a, b, b - a))
    larger = np.maximum(size_a, size_b)
    distance = np.divide(apart, larger, out=np.where(finite, 0.0, np.nan), where=finite & (larger > 0))
    correlation = np.full(len(a), np.nan)
    correlation[finite] = rank_correlation(a[finite], b[finite])
    flips = np.where(finite, (a * b < 0).mean(1), np.nan)
    judged = finite & np.isfinite(error_a) & np.isfinite(error_b)
    allowed = np.where(judged, error_a, 0) * size_a + np.where(judged, error_b, 0) * size_b + ROUNDING * larger
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(judged, allowed / larger, np.nan)
    return MapDifferences(distance, correlation, flips, share, judged & (apart > allowed), judged)


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(rows,) Spearman's rank correlation of two arrays (rows, D); NaN where one is constant."""
    x, y = (ranks(values) - (values.shape[1] + 1) / 2 for values in (a, b))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1)))


def ranks(values: np.ndarray) -> np.ndarray:
    """(rows, D) float64, ranks from 1 along the last axis; equal values share the mean of theirs.

    Example:
        >>> ranks(np.array([[10.0, 30.0, 10.0]]))
        array([[1.5, 3. , 1.5]])
    """
    ranked = np.empty(values.shape)
    for row, numbers in enumerate(values):
        _, place, count = np.unique(numbers, return_inverse=True, return_counts=True)
        last = np.cumsum(count)
        ranked[row] = (last - (count - 1) / 2)[place]
    return ranked
