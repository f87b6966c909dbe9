"""How a map is spread over its units: Gini index, entropies, and the number of units that matter."""

from __future__ import annotations

import numpy as np

__all__ = ["count_above", "entropy", "gini", "histogram_entropy"]


def gini(maps: np.ndarray) -> np.ndarray:
    """(rows,) Gini index of the magnitudes of maps (rows, units); NaN of a map that is zero everywhere.

    With |a| in ascending order, Σ_i (2 i − U − 1) |a|_(i) / (U Σ |a|).

    Reference: Hurley and Rickard 2009, "Comparing measures of sparsity", arXiv 0811.4706.

    Example:
        >>> gini(np.array([[0.0, 0.0, 0.0, -3.0], [1.0, 1.0, -1.0, 1.0]])).tolist()
        [0.75, 0.0]
    """
    magnitudes = np.sort(np.abs(maps), axis=1)
    units = maps.shape[1]
    weights = 2 * np.arange(1, units + 1) - units - 1
    with np.errstate(invalid="ignore"):
        return np.asarray(magnitudes @ weights / (units * magnitudes.sum(axis=1)))


def entropy(maps: np.ndarray) -> np.ndarray:
    """(rows,) entropy of the shares of the magnitudes, in nats; NaN of a map that is zero everywhere.

    Example:
        >>> entropy(np.array([[0.0, 5.0], [1.0, -1.0]])).round(6).tolist()
        [0.0, 0.693147]
    """
    magnitudes = np.abs(maps)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = magnitudes / magnitudes.sum(axis=1, keepdims=True)
        return np.asarray(0.0 - np.where(shares == 0, 0.0, shares * np.log(shares)).sum(axis=1))


def count_above(maps: np.ndarray, threshold: float) -> np.ndarray:
    """(rows,) float64 number of units with |a| > threshold · max |a|; NaN in rows that are not finite.

    Example:
        >>> count_above(np.array([[0.0, -2.0, 1.0, 1e-9]]), 1e-5).tolist()
        [2.0]
    """
    magnitudes = np.abs(maps)
    counts = (magnitudes > threshold * magnitudes.max(axis=1, keepdims=True)).sum(axis=1).astype(float)
    return np.where(np.isfinite(maps).all(axis=1), counts, np.nan)


def histogram_entropy(maps: np.ndarray, bins: int) -> np.ndarray:
    """(rows,) entropy of how the numbers of a map fall into bins of equal width over its range, in nats.

    NaN in rows that are not finite.

    Reference: Hedström et al. 2023, "Sanity Checks Revisited", arXiv 2401.06465.

    Example:
        >>> histogram_entropy(np.array([[0.0, 0.0, 1.0, 1.0]]), 2).round(6).tolist()
        [0.693147]
    """
    found = np.full(len(maps), np.nan)
    for row in np.flatnonzero(np.isfinite(maps).all(axis=1)):
        counts = np.histogram(maps[row], bins=bins)[0]
        found[row] = entropy(counts[None].astype(float))[0]
    return found
