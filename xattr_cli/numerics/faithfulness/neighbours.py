"""Rows with alike maps, and what else they have in common."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

__all__ = ["share_alike"]

_BYTES = 64 * 2**20


def share_alike(maps: np.ndarray, classes: np.ndarray, threshold: float) -> np.ndarray:
    """(rows,) of the other rows with a near map, the share that has the same class; 0 where there is none.

    Arguments:
        maps: (rows, units), finite. Each unit counts in units of its standard deviation over the rows, one that
            never varies not at all.
        classes: (rows,) int64.
        threshold: near is a distance of at most this share of the largest one.

    Example:
        >>> share_alike(np.array([[0.0], [0.1], [9.0], [9.1]]), np.array([0, 0, 1, 0]), 0.5).tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    if len(maps) < 2:
        return np.zeros(len(maps))
    deviation = maps.std(axis=0, dtype=np.float64, ddof=1)
    points = (maps - maps.mean(axis=0, dtype=np.float64))[:, deviation > 0] / deviation[deviation > 0]
    largest = max(float(distances.max(initial=0.0)) for _, distances in _distances(points))
    found = np.zeros(len(maps))
    for rows, distances in _distances(points):
        near = distances <= threshold * largest
        near[np.arange(len(near)), rows] = False
        same = near & (classes[rows, None] == classes)
        found[rows] = same.sum(axis=1) / np.maximum(1, near.sum(axis=1))
    return found


def _distances(points: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions (k,) of some rows, and their distances (k, rows) to all; so many that they fit."""
    squares, held = (points**2).sum(axis=1), max(1, _BYTES // (8 * len(points)))
    for start in range(0, len(points), held):
        rows = np.arange(start, min(start + held, len(points)))
        square = squares[rows, None] + squares - 2 * points[rows] @ points.T
        yield rows, np.sqrt(np.maximum(square, 0.0))
