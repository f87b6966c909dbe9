"""Faithfulness: does the score react to the features that an attribution calls important?

Every metric here replaces units of an input (features, or pixels with all their channels) and watches the
score f that the map explains, at the row's own target. A ranking metric replaces more and more of them, in
the order of the map, and reduces the curve that the score draws to one number per row:

    metric     order of replacement          curve over k     number              better
    pgi        largest |attribution| first   |f(x) − f(x_k)|  mean over k = 1..U  higher
    pgu        smallest |attribution| first  |f(x) − f(x_k)|  mean over k = 1..U  lower
    deletion   highest attribution first     f(x_k)           area over k / U     lower
    insertion  lowest attribution first      f(x_k)           area over k / U     higher

x_k is the input with k of its U units replaced; a unit of several numbers has the sum of their attributions.
Gaps and areas are in units of the score. At k = U they are the same for every map. Replacing the lowest
first, from 0 to U units, is inserting the highest first, read backwards: the area is the same. Ties go in
the order of random numbers that belong to the row, so that a map that says nothing scores as a random order
does, not as reading order.

Sensitivity-n instead asks for the correlation of the map's sums over random subsets with the drops of f.

References: PGI and PGU, Agarwal et al. 2022, arXiv 2206.11104 (there with small noise, k up to a chosen
number), and with zeros, summed over k, Saha et al. 2025, arXiv 2505.09660; deletion and insertion, Petsiuk
et al. 2018, arXiv 1806.07421; sensitivity-n, Ancona et al. 2018, arXiv 1711.06104, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from ...errors import JobError

__all__ = [
    "CURVE_METRICS",
    "CurveMetric",
    "MetricEstimate",
    "check_subset_size",
    "correlation",
    "curve_steps",
    "default_subset_size",
    "infidelity",
    "metric_estimate",
    "removal_ranks",
    "subset_masks",
]

FEWEST_SUBSETS = 3  # two points always lie on a line


@dataclass(frozen=True)
class CurveMetric:
    """A metric that follows the score while units are replaced one after the other.

    Attributes:
        name: as in the table above.
        most_first: whether what is ranked highest is replaced first.
        by_magnitude: whether attributions are ranked by their absolute values, or with their signs.
        is_gap: whether the curve is the absolute change of the score, or the score itself.
        higher_is_better: which way a more faithful map moves the number.

    Example:
        >>> deletion = CURVE_METRICS["deletion"]
        >>> deletion.number(np.array([[1.0, 0.0, 0.0]]), np.array([0, 1, 2])).tolist()
        [0.25]
    """

    name: str
    most_first: bool
    by_magnitude: bool
    is_gap: bool
    higher_is_better: bool

    def curve(self, scores: np.ndarray, score_input: np.ndarray) -> np.ndarray:
        """(rows, points) of the curve, the mean over the draws of what the units are replaced by.

        Arguments:
            scores: (rows, points, draws), f with so many units replaced.
            score_input: (rows,), f(x).
        """
        if not self.is_gap:
            return np.asarray(scores.mean(axis=2))
        return np.asarray(np.abs(scores - score_input[:, None, None]).mean(axis=2))

    def number(self, curve: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """(rows,) the metric of a curve (rows, points) at so many replaced units (points,).

        Between the points the curve is taken to be straight; exact where they are all of 0..U.
        """
        width = np.diff(steps)
        # a gap is summed over the integers of (a, b], so that b counts fully and a only by interpolation
        left, right = ((width - 1) / 2, (width + 1) / 2) if self.is_gap else (width / 2, width / 2)
        weights = np.zeros(len(steps))
        weights[:-1] += left
        weights[1:] += right
        return np.asarray(curve @ weights / steps[-1])


CURVE_METRICS: Mapping[str, CurveMetric] = {
    metric.name: metric
    for metric in (
        CurveMetric("pgu", most_first=False, by_magnitude=True, is_gap=True, higher_is_better=False),
        CurveMetric("pgi", most_first=True, by_magnitude=True, is_gap=True, higher_is_better=True),
        CurveMetric("deletion", most_first=True, by_magnitude=False, is_gap=False, higher_is_better=False),
        CurveMetric("insertion", most_first=False, by_magnitude=False, is_gap=False, higher_is_better=True),
    )
}


# --- rankings and curves ------------------------------------------------------------------------


def removal_ranks(attribution: np.ndarray, tie_breaker: np.ndarray, metric: CurveMetric) -> np.ndarray:
    """(rows, units) int32: the place of every unit in the order in which `metric` replaces them, from 0.

    Arguments:
        attribution: (rows, units).
        tie_breaker: (rows, units); of equal attributions the one with the smaller number goes first.

    Example:
        >>> deletion = CURVE_METRICS["deletion"]
        >>> removal_ranks(np.array([[1.0, 3.0, 2.0]]), np.zeros((1, 3)), deletion).tolist()
        [[2, 0, 1]]
    """
    key = np.abs(attribution) if metric.by_magnitude else attribution
    order = np.lexsort((tie_breaker, -key if metric.most_first else key), axis=-1)
    ranks = np.empty(order.shape, np.int32)
    np.put_along_axis(ranks, order, np.arange(order.shape[1], dtype=np.int32)[None], axis=1)
    return ranks


def curve_steps(units: int, most: int) -> np.ndarray:
    """(points,) int64: the numbers of replaced units at which a curve is evaluated, from 0 to all.

    All of them if there are at most `most` steps between, else so many of nearly equal width.

    Example:
        >>> curve_steps(4, 10).tolist(), curve_steps(100, 4).tolist()
        ([0, 1, 2, 3, 4], [0, 25, 50, 75, 100])
    """
    return np.unique(np.linspace(0, units, min(most, units) + 1).round().astype(np.int64))


# --- sensitivity-n ------------------------------------------------------------------------------


def default_subset_size(units: int) -> int:
    """A quarter of the units: large enough that they interact, small enough that the input is still one.

    Example:
        >>> default_subset_size(64)
        16
    """
    return max(1, units // 4)


def check_subset_size(size: int, units: int, metric: str = "sensitivity_n") -> None:
    """Refuse subsets of which there are too few for a correlation.

    Arguments:
        size: of each subset.
        units: there are.
        metric: that asks; begins an error.

    Raises:
        JobError: names the sizes that are allowed.

    Example:
        >>> check_subset_size(16, 64)
    """
    if 1 <= size <= units and comb(units, size) >= FEWEST_SUBSETS:
        return
    if units < FEWEST_SUBSETS:
        raise JobError(f"--metric {metric}: {units} units have fewer than {FEWEST_SUBSETS} subsets of a size.")
    raise JobError(
        f"--n {size}: must be from 1 to {units - 1}: there are {units} units, and a correlation needs at least "
        f"{FEWEST_SUBSETS} different subsets."
    )


def subset_masks(units: int, size: int, most: int, generator: np.random.Generator) -> np.ndarray:
    """(subsets, units) bool: all subsets of that size if there are at most `most`, else `most` random ones.

    Example:
        >>> subset_masks(3, 2, 10, np.random.default_rng(0)).astype(int).tolist()
        [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    """
    if comb(units, size) <= most:
        chosen = np.array(list(combinations(range(units), size)))
    else:  # of random keys the smallest: ten times as fast as a choice for every subset
        chosen = generator.random((most, units), dtype=np.float32).argpartition(size - 1, axis=1)[:, :size]
    masks = np.zeros((len(chosen), units), dtype=bool)
    np.put_along_axis(masks, chosen, True, axis=1)
    return masks


def correlation(sums: np.ndarray, drops: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """(rows,) Pearson correlation of attributed and observed drops of the score.

    Arguments:
        sums: (rows, subsets), what the map gives to each subset.
        drops: (rows, subsets), f(x) − f(x with the subset replaced).
        rounding: (rows,) how far rounding may move a drop. Where drops differ by no more, the network
            does not react, and the correlation is NaN: the row says nothing about any map.

    A map that gives all subsets the same has 0: it predicts no difference where there is one.

    Example:
        >>> correlation(np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 4.0, 6.0]]), np.array([1e-6])).tolist()
        [1.0]
    """
    moved = drops - drops.mean(axis=1, keepdims=True)
    centred = sums - sums.mean(axis=1, keepdims=True)
    spread_moved, spread_given = (np.sqrt((part**2).mean(axis=1)) for part in (moved, centred))
    said = spread_given > 1e-12 * np.abs(sums).max(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlations = (moved * centred).mean(axis=1) / (spread_moved * spread_given)
    correlations = np.where(said, np.clip(correlations, -1.0, 1.0), 0.0)
    usable = (spread_moved > rounding) & np.isfinite(sums).all(axis=1)
    return np.where(usable, correlations, np.nan)


def infidelity(sums: np.ndarray, drops: np.ndarray, *, scaled: bool) -> np.ndarray:
    """(rows,) mean square of attributed minus observed drops of the score; NaN in rows that are not finite.

    Arguments:
        sums: (rows, subsets), what the map gives to each subset.
        drops: (rows, subsets), f(x) − f(x with the subset replaced).
        scaled: of the multiple of each row's map that makes it smallest, β = Σ s d / Σ s².

    Reference: Yeh et al. 2019, arXiv 1901.09392, definition 2.1.

    Example:
        >>> sums, drops = np.array([[1.0, 2.0]]), np.array([[2.0, 4.0]])
        >>> infidelity(sums, drops, scaled=False).tolist(), infidelity(sums, drops, scaled=True).tolist()
        ([2.5], [0.0])
    """
    if scaled:
        squares = (sums**2).sum(axis=1, keepdims=True)
        sums = sums * ((sums * drops).sum(axis=1, keepdims=True) / np.where(squares > 0, squares, 1.0))
    return np.asarray(((sums - drops) ** 2).mean(axis=1))


@dataclass(frozen=True)
class MetricEstimate:
    """A mean over rows.

    Attributes:
        mean: of the values; NaN if there are none.
        standard_error: of the mean, if the samples are a random choice; NaN with fewer than two samples.

    Example:
        >>> metric_estimate(np.array([1.0, 3.0]), np.array([0, 1])).mean
        2.0
    """

    mean: float
    standard_error: float


def metric_estimate(values: np.ndarray, samples: np.ndarray) -> MetricEstimate:
    """The mean of values, and its standard error.

    Rows of one sample (several targets of it) are no independent evidence: what is independent is the
    sample. With n rows in G samples the squared error is G / (G − 1) · Σ_g (Σ_i∈g (v_i − mean))² / n², which
    for one row per sample is the usual s² / n. For a paired comparison give the differences row by row.

    Reference: Liang and Zeger 1986, Biometrika 73(1), the sandwich estimator of a mean.

    Arguments:
        values: (rows,), finite.
        samples: (rows,), which sample each row explains.

    Example:
        >>> metric_estimate(np.array([1.0, 3.0]), np.array([0, 1])).standard_error
        1.0
    """
    rows = len(values)
    if rows == 0:
        return MetricEstimate(np.nan, np.nan)
    mean = float(values.mean())
    _, cluster = np.unique(samples, return_inverse=True)
    deviations = np.bincount(cluster, weights=values - mean)
    clusters = len(deviations)
    if clusters < 2:
        return MetricEstimate(mean, np.nan)
    square = clusters / (clusters - 1) * float(deviations @ deviations)
    return MetricEstimate(mean, float(np.sqrt(square)) / rows)
