"""Causal regressors: Bayesian polynomials in α for the interventional expectations of a network.

One per feature and target; each says what do(x_i = α) does on average, how sure it is, and, in closed form,
the mean over the range, which is the baseline of average causal effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import numpy as np
from numpy.polynomial import legendre

__all__ = ["CausalRegressors", "default_order", "fit_regressors"]

HIGHEST_ORDER = 20
FEWEST_RESIDUALS = 3  # degrees of freedom left, for the variance to have a mean
# residuals below this share of the largest value are rounding, and no reason for a higher order
ROUNDING = 8 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class CausalRegressors:
    """Polynomial regressors of all features and targets, over the same relative grid of α.

    The posterior of a regressor of order p is y(α) = c_0 + Σ_{k=1..p} w_k q_k(u) + ε, where u ∈ [−1, 1] is
    the place of α in its range and q_k are polynomials that are orthonormal on the grid: the w_k are
    independent with variance s·σ², ε has variance σ².

    Attributes:
        lower, upper: (features,) the range of α.
        basis: (orders, orders), upper triangular: q_k = Σ_j basis[j, k] P_j, with P_j the Legendre polynomials.
        weights: (features, targets, orders), the posterior mean; zero beyond the order.
        order: (features, targets) int64.
        noise: (features, targets), σ.
        shrinkage: (features, targets), s, in [0, 1].

    Example:
        >>> grid = np.linspace(0.0, 1.0, 21)
        >>> fit = fit_regressors((grid**2)[None, :, None], np.array([0.0]), np.array([1.0]))
        >>> fit.baseline.round(6).tolist()  # ∫ α² dα
        [[0.333333]]
    """

    lower: np.ndarray
    upper: np.ndarray
    basis: np.ndarray
    weights: np.ndarray
    order: np.ndarray
    noise: np.ndarray
    shrinkage: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """What `of` makes the regressors from again."""
        return dict(vars(self))

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> CausalRegressors:
        """The regressors that `arrays` describes."""
        return cls(**{name: np.asarray(arrays[name]) for name in cls.__dataclass_fields__})

    @property
    def baseline(self) -> np.ndarray:
        """(features, targets), the mean over the range: ∫ P_j du / 2 = 0 for all j > 0."""
        return np.asarray(self.weights @ self.basis[0])

    def take(self, features: np.ndarray) -> CausalRegressors:
        """The regressors of some features."""
        per_feature = {k: v[features] for k, v in vars(self).items() if k != "basis"}
        return CausalRegressors(basis=self.basis, **per_feature)

    def predict(self, alpha: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the interventional expectation, for all targets.

        Arguments:
            alpha: (n, features), in or out of the range.

        Returns:
            Two arrays (n, features, targets). The deviation is that of a new value, σ included.
        """
        q = self._polynomials(alpha)
        mean = np.einsum("nfk,ftk->nft", q, self.weights)
        return mean, self._deviation(np.square(q), 1.0 / self._grid)

    def effect(self, alpha: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of the effect, regressor(α) − baseline, of one target per row.

        Arguments:
            alpha: (n, features), in or out of the range.
            target: (n,) positions among the targets.

        Returns:
            Two arrays (n, features).
        """
        q = self._polynomials(alpha) - self.basis[0]
        mean, deviation = np.empty(alpha.shape), np.empty(alpha.shape)
        for output in np.unique(target):
            rows = np.flatnonzero(target == output)
            mean[rows] = np.einsum("nfk,fk->nf", q[rows], self.weights[:, output])
            chosen = self._of_target(int(output))
            deviation[rows] = chosen._deviation(np.square(q[rows]), 0.0)[..., 0]
        return mean, deviation

    @property
    def _grid(self) -> float:
        """Points of the grid: the constant q_0 is 1 / sqrt(points)."""
        return float(1.0 / self.basis[0, 0] ** 2)

    def _of_target(self, target: int) -> CausalRegressors:
        per_target = {k: getattr(self, k)[:, [target]] for k in ("weights", "order", "noise", "shrinkage")}
        return CausalRegressors(self.lower, self.upper, self.basis, **per_target)

    def _polynomials(self, alpha: np.ndarray) -> np.ndarray:
        """(n, features, orders) q_k at α."""
        half = (self.upper - self.lower) / 2
        scaled = (np.asarray(alpha, np.float64) - (self.lower + self.upper) / 2) / half
        return np.asarray(legendre.legvander(scaled, len(self.basis) - 1) @ self.basis)

    def _deviation(self, squares: np.ndarray, intercept: float) -> np.ndarray:
        """(n, features, targets); the variance is σ² (1 + intercept + s Σ_{k=1..p} squares_k)."""
        leverage = np.concatenate([np.zeros_like(squares[..., :1]), np.cumsum(squares[..., 1:], axis=-1)], axis=-1)
        reached = np.take_along_axis(leverage, np.broadcast_to(self.order, (len(squares), *self.order.shape)), -1)
        return np.asarray(self.noise * np.sqrt(1.0 + intercept + self.shrinkage * reached))


def default_order(points: int, most: int = HIGHEST_ORDER) -> int:
    """The highest order that a grid of equally spaced points bears, and at most `most`.

    Above 2 sqrt(points), least squares on an equally spaced grid swings beyond all bounds between the
    outermost points (Rakhmanov 2007, Annals of Mathematics 165, 55-88).

    Example:
        >>> default_order(11), default_order(1000)
        (6, 20)
    """
    return max(0, min(most, isqrt(4 * points), points - 1 - FEWEST_RESIDUALS))


def fit_regressors(
    curves: np.ndarray, lower: np.ndarray, upper: np.ndarray, *, order: int | None = None, most: int | None = None
) -> CausalRegressors:
    """Fit a polynomial to every curve; its order is the one of the highest evidence.

    With q_k orthonormal on the grid, the prior w ~ N(0, g σ²) and p(σ²) ∝ 1 / σ², the evidence of order p
    relative to a constant has the closed form

        (1 + g)^((n − 1 − p) / 2) / (1 + g (1 − R²_p))^((n − 1) / 2),

    largest at g = max(F_p − 1, 0), with F_p the classical F ratio (Liang, Paulo, Molina, Clyde, Berger 2008,
    Journal of the American Statistical Association 103, 410-423, equations 6 and 9).

    Arguments:
        curves: (features, alphas, targets), values at `alphas` equally spaced points of each range.
        lower, upper: (features,) the ranges.
        order: of all polynomials; None chooses each by its evidence.
        most: highest order that is tried; None for `default_order`.

    Example:
        >>> grid = np.linspace(0.0, 1.0, 21)
        >>> fit = fit_regressors((grid**2)[None, :, None], np.array([0.0]), np.array([1.0]))
        >>> fit.order.tolist()
        [[2]]
    """
    points = curves.shape[1]
    highest = order if order is not None else default_order(points) if most is None else most
    values = np.moveaxis(np.asarray(curves, np.float64), 1, 2)
    q, basis = _orthonormal(points, min(highest, points - 1))
    fits = _Fits.of(values, q)
    chosen = np.full(values.shape[:2], q.shape[1] - 1) if order is not None else fits.best_order()
    shrinkage, noise = fits.posterior(chosen)
    weights = np.where(np.arange(q.shape[1]) > chosen[..., None], 0.0, fits.coefficients)
    weights[..., 1:] *= shrinkage[..., None]
    lower, upper = np.asarray(lower, np.float64), np.asarray(upper, np.float64)
    return CausalRegressors(lower, upper, basis, weights, chosen, noise, shrinkage)


def _orthonormal(points: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """Polynomials of degree 0 to `order`, (points, orders) orthonormal on the grid; and their Legendre series.

    Those of an equally spaced grid (Gram 1883; also named after Chebyshev) follow from the recurrence
    x q_k = b_{k+1} q_{k+1} + b_k q_{k−1}, b_k = k / (n − 1) · sqrt((n² − k²) / (4 k² − 1)), q_0 = 1 / sqrt(n).
    """
    k = np.arange(1, order + 1)
    steps = k / (points - 1) * np.sqrt((points**2 - k**2) / (4.0 * k**2 - 1))
    grid = np.linspace(-1.0, 1.0, points)
    q, basis = np.zeros((points, order + 1)), np.zeros((order + 1, order + 1))
    q[:, 0] = basis[0, 0] = 1 / np.sqrt(points)
    for now, step in enumerate(steps):
        before = steps[now - 1] if now else 0.0
        q[:, now + 1] = (grid * q[:, now] - before * q[:, now - 1]) / step
        basis[:, now + 1] = (_times_x(basis[:, now]) - before * basis[:, now - 1]) / step
    return q, basis


def _times_x(series: np.ndarray) -> np.ndarray:
    """A Legendre series times x, by x P_j = ((j + 1) P_{j+1} + j P_{j−1}) / (2 j + 1)."""
    j = np.arange(len(series))
    share = series / (2 * j + 1)
    product = np.zeros_like(series)
    product[1:] = (j + 1)[:-1] * share[:-1]
    product[:-1] += j[1:] * share[1:]
    return product


@dataclass(frozen=True)
class _Fits:
    """Least squares of every order, and the evidence for it.

    Attributes:
        points: of the grid.
        coefficients: (features, targets, orders).
        residual: (features, targets, orders), sum of squares that is left by each order, from 0.
    """

    points: int
    coefficients: np.ndarray
    residual: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, q: np.ndarray) -> _Fits:
        points, orders = q.shape
        floor = points * np.square(ROUNDING * np.abs(values).max(axis=2, initial=0.0)) + np.finfo(float).tiny
        coefficients, residual = np.empty((2, *values.shape[:2], orders))
        # squares of the residuals themselves: total − explained would lose half of the digits
        unexplained = values.copy()
        for k in range(orders):
            coefficients[..., k] = unexplained @ q[:, k]
            unexplained -= coefficients[..., k, None] * q[:, k]
            residual[..., k] = np.maximum(np.square(unexplained).sum(axis=2), floor)
        return cls(points, coefficients, residual)

    def best_order(self) -> np.ndarray:
        """(features, targets) order of the highest evidence."""
        g, unexplained = self._g(), self.residual / self.residual[..., :1]
        rewards = self._freedom() / 2 * np.log1p(g)
        return np.asarray((rewards - (self.points - 1) / 2 * np.log1p(g * unexplained)).argmax(axis=2))

    def posterior(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(features, targets) shrinkage s = g / (1 + g); and σ, the root of the posterior mean of σ²."""
        shrinkage = _at(self._g() / (1.0 + self._g()), order)
        unexplained = _at(self.residual, order)
        explained = self.residual[..., 0] - unexplained
        squares = unexplained + (1.0 - shrinkage) * np.maximum(explained, 0.0)
        return shrinkage, np.sqrt(squares / max(self.points - FEWEST_RESIDUALS, 1))

    def _freedom(self) -> np.ndarray:
        return np.maximum(self.points - 1 - np.arange(self.residual.shape[2]), 1)

    def _g(self) -> np.ndarray:
        """(features, targets, orders) the g of the highest evidence; 0 for a constant."""
        orders = np.maximum(np.arange(self.residual.shape[2]), 1)
        explained = self.residual[..., :1] - self.residual
        ratio = (explained / orders) / (self.residual / self._freedom())
        return np.asarray(np.maximum(ratio - 1.0, 0.0))


def _at(values: np.ndarray, order: np.ndarray) -> np.ndarray:
    return np.asarray(np.take_along_axis(values, order[..., None], axis=2)[..., 0])
