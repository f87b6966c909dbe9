"""Path positions for the baselines of a background: evenly spread, and far apart for baselines that are alike."""

from __future__ import annotations

import numpy as np

__all__ = ["alike", "opposite_positions"]


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


def opposite_positions(random: np.random.Generator, order: np.ndarray) -> np.ndarray:
    """(n,) float64 path positions in [0, 1), by baseline: even, and far apart for baselines that are alike.

    The first and the second in `order`, the third and the fourth, and so on, are half a path apart: what differs
    between its halves cancels as far as they are alike. Pairs are spread over half of the path so that those
    that are alike are far apart, too. All are moved together by a random step, and each pair within its stratum:
    each position alone is uniform.

    Arguments:
        random: numbers.
        order: (n,) baselines, neighbours alike.

    Example:
        >>> t = opposite_positions(np.random.default_rng(0), np.arange(4))
        >>> (2 * np.abs(t[0::2] - t[1::2])).round(9).tolist()
        [1.0, 1.0]
    """
    pairs = len(order) // 2
    begin = (_spread(random, pairs) + random.random(pairs)) / (2 * max(pairs, 1))
    begin = begin + random.integers(2, size=pairs) / 2
    positions = np.empty(len(order))
    positions[order[0 : 2 * pairs : 2]] = begin
    positions[order[1 : 2 * pairs : 2]] = begin + 0.5
    positions[order[2 * pairs :]] = random.random(len(order) - 2 * pairs)  # the last one of an odd number
    return np.asarray((positions + random.random()) % 1)


def _spread(random: np.random.Generator, count: int) -> np.ndarray:
    """(count,) the numbers 0 to count − 1, neighbours far apart: as van der Corput, scrambled as by Owen.

    Example:
        >>> np.abs(np.diff(_spread(np.random.default_rng(0), 4)))[[0, 2]].tolist()
        [2, 2]
    """
    digits = max(count - 1, 1).bit_length()
    number = np.arange(count)
    turned = np.zeros(count, dtype=np.int64)
    for digit in range(digits):
        above = number >> (digits - digit)
        flips = random.integers(2, size=2**digit)[above]
        turned |= (number >> (digits - digit - 1) & 1 ^ flips) << digit
    return np.argsort(np.argsort(turned))
