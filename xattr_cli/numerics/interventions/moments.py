"""Mean and covariance of any number of samples in one pass, and the directions along which they spread.

The numbers are those of the samples at hand (divisor n): the second-order expansion of a mean over n samples
needs their own covariance, not an estimate of another one's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..student import student_factor

__all__ = ["Factor", "Moments", "Spread", "factorise", "symmetric_root"]


class Moments:
    """Mean and covariance of vectors that arrive in blocks, in any order and of any size.

    Deviations are taken from each block's own mean and joined by the parallel update of Chan, Golub and
    LeVeque (1983, The American Statistician 37, 242-247), so that a large mean costs no digits.

    Attributes:
        count: vectors seen.
        mean: (size,) float64.
        scatter: (size, size) float64, sum of the outer products of deviations from the mean.

    Example:
        >>> Moments.of(np.array([[0.0, 0.0], [2.0, 4.0]])).covariance.tolist()
        [[1.0, 2.0], [2.0, 4.0]]
    """

    def __init__(self, size: int, count: int = 0, mean: Any = 0.0, scatter: Any = 0.0) -> None:
        self.count = count
        self.mean: np.ndarray = np.zeros(size) + mean
        self.scatter: np.ndarray = np.zeros((size, size)) + scatter

    @classmethod
    def of(cls, points: np.ndarray) -> Moments:
        """Of vectors (n, size) alone, n at least 1."""
        values = np.asarray(points, np.float64)
        mean = values.mean(axis=0)
        deviations = values - mean
        return cls(points.shape[1], len(points), mean, deviations.T @ deviations)

    def add(self, points: np.ndarray) -> None:
        """Take in vectors (n, size)."""
        if len(points):
            self.merge(Moments.of(points))

    def merge(self, other: Moments) -> None:
        """Take in all that another has seen."""
        count = self.count + other.count
        if not other.count:
            return
        step = other.mean - self.mean
        self.mean = self.mean + step * (other.count / count)
        self.scatter = self.scatter + other.scatter + np.outer(step, step) * (self.count * other.count / count)
        self.count = count

    @property
    def covariance(self) -> np.ndarray:
        """(size, size) covariance of the vectors seen, with divisor n; zero for fewer than two."""
        return self.scatter / max(self.count, 1)


class Spread:
    """Mean and variance, entry by entry, of arrays that arrive in blocks; see `Moments`.

    Attributes:
        count: arrays seen.
        mean: (*shape,) float64.
        squares: (*shape,) float64, sum of the squared deviations from the mean.

    Example:
        >>> spread = Spread((1,))
        >>> spread.add(np.array([[1.0], [3.0]]))
        >>> spread.mean.tolist(), spread.squares.tolist()
        ([2.0], [2.0])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.mean = np.zeros(shape)
        self.squares = np.zeros(shape)

    def add(self, values: np.ndarray) -> None:
        """Take in arrays (n, *shape)."""
        count = self.count + len(values)
        if not len(values):
            return
        values = np.asarray(values, np.float64)
        mean = values.mean(axis=0)
        step = mean - self.mean
        self.squares = (
            self.squares
            + np.square(values - mean).sum(axis=0)
            + np.square(step) * (self.count * len(values) / count)
        )
        self.mean = self.mean + step * (len(values) / count)
        self.count = count

    @property
    def standard_error(self) -> np.ndarray:
        """(*shape,) of the mean, as an estimate for more samples of the same kind; NaN for fewer than two.

        Widened by Student's factor.
        """
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return student_factor(self.count - 1) * np.sqrt(self.squares / (self.count - 1) / self.count)


@dataclass(frozen=True)
class Factor:
    """Directions v_k with Σ ≈ Σ_k v_k v_kᵀ, from the one of the largest variance down.

    Attributes:
        directions: (rank, size).
        retained: share of the total variance that they hold; 1 if there is no variance at all.

    Example:
        >>> factorise(np.diag([4.0, 1.0]), most=1).retained
        0.8
    """

    directions: np.ndarray
    retained: float


def factorise(covariance: np.ndarray, retained: float = 1.0, most: int | None = None) -> Factor:
    """The fewest directions that hold a share of the variance.

    Arguments:
        covariance: (size, size), symmetric and not negative.
        retained: share to hold; 1 keeps all but what is rounding.
        most: directions to keep at most.

    Example:
        >>> np.abs(factorise(np.diag([4.0, 1.0]), retained=0.8).directions).round(12).tolist()
        [[2.0, 0.0]]
    """
    values, vectors = _spectrum(covariance)
    total = float(values.sum())
    if total <= 0.0:
        return Factor(np.zeros((0, len(covariance))), 1.0)
    shares = np.cumsum(values) / total
    rank = int(np.count_nonzero(values))
    if retained < 1.0:
        rank = min(rank, int(np.searchsorted(shares, retained)) + 1)
    rank = min(rank, len(values) if most is None else most)
    kept = float(shares[rank - 1]) if rank else 0.0
    return Factor(vectors[:, :rank].T * np.sqrt(values[:rank, None]), min(kept, 1.0))


def symmetric_root(covariance: np.ndarray) -> np.ndarray:
    """(size, size) the symmetric R with R R = Σ: unlike eigenvectors, it has no arbitrary signs.

    Example:
        >>> symmetric_root(np.diag([4.0, 9.0])).round(12).tolist()
        [[2.0, 0.0], [0.0, 3.0]]
    """
    values, vectors = _spectrum(covariance)
    root: np.ndarray = (vectors * np.sqrt(values)) @ vectors.T
    return root


def _spectrum(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues from the largest down, those that are rounding set to zero; and eigenvectors, by column."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    floor = len(values) * np.finfo(np.float64).eps * max(float(values[0]), 0.0) if len(values) else 0.0
    return np.where(values > floor, values, 0.0), vectors
