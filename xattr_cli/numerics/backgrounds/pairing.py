"""Path positions for the baselines of a background: evenly spread, and opposite for baselines that are alike."""

from __future__ import annotations

import numpy as np

__all__ = ["alike", "paired_positions"]


def alike(points: np.ndarray) -> np.ndarray:
    """(m,) an order in which neighbours are alike: halved along the direction of the widest spread, and again.

    Arguments:
        points: (m, D).

    Example:
        >>> pairs = alike(np.array([[3.0], [0.0], [2.0], [1.0]])).reshape(2, 2)
        >>> sorted(sorted(pair) for pair in pairs.tolist())
        [[0, 2], [1, 3]]
    """
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    # all that halving needs are products of points, however many features there are
    products = centred @ centred.T
    return np.array(_halved(np.arange(len(points)), products), dtype=np.int64)


def _halved(some: np.ndarray, products: np.ndarray) -> list[int]:
    if len(some) <= 2:
        return [int(one) for one in some]
    here = products[np.ix_(some, some)]
    here = here - here.mean(axis=0) - here.mean(axis=1)[:, None] + here.mean()
    place = np.linalg.eigh(here)[1][:, -1]
    ranked = some[np.argsort(place, kind="stable")]
    # an even first half, so that pairs are not torn apart
    half = 2 * ((len(some) // 2 + 1) // 2)
    return _halved(ranked[:half], products) + _halved(ranked[half:], products)


def paired_positions(random: np.random.Generator, order: np.ndarray) -> np.ndarray:
    """(n,) float64 path positions in (0, 1), one in each of n strata, by baseline.

    Of the first and the second in `order`, the third and the fourth, and so on, one is in the first half of the
    path and the other in the second, as a coin of their own says: what differs between the halves cancels as far
    as they are alike. Each position alone is uniform.

    Arguments:
        random: numbers.
        order: (n,) baselines, neighbours alike.

    Example:
        >>> t = paired_positions(np.random.default_rng(0), np.arange(4))
        >>> sorted((4 * t).astype(int).tolist())
        [0, 1, 2, 3]
    """
    count = len(order)
    strata = np.arange(count)
    found = np.empty(count)
    if count % 2:
        # the last one has no neighbour, and takes any stratum
        taken = int(random.integers(count))
        found[order[-1]] = taken
        order, strata = order[:-1], np.delete(strata, taken)
    pairs = len(order) // 2
    halves = np.stack([random.permutation(strata[:pairs]), random.permutation(strata[pairs:])])
    coin = random.integers(2, size=pairs)
    found[order[0::2]] = halves[coin, np.arange(pairs)]
    found[order[1::2]] = halves[1 - coin, np.arange(pairs)]
    return np.asarray((found + random.random(count)) / count)
