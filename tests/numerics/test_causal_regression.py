"""Causal regressors: exact on polynomials, honest about the rest, and closed forms against quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import legendre, polynomial
from sklearn.linear_model import BayesianRidge

from xattr_cli.numerics.interventions.regression import CausalRegressors, default_order, fit_regressors

LOWER, UPPER = 2.0, 5.0
ALPHA = np.linspace(LOWER, UPPER, 100)


def fit(*curves, alphas=100, **options):
    """Regressors of functions of α, one target each, of a single feature."""
    alpha = np.linspace(LOWER, UPPER, alphas)
    values = np.stack([np.broadcast_to(curve(alpha), alpha.shape) for curve in curves], axis=1)
    return fit_regressors(values[None], np.array([LOWER]), np.array([UPPER]), **options)


def predicted(regressors, alpha):
    mean, deviation = regressors.predict(np.asarray(alpha, float)[:, None])
    return mean[:, 0], deviation[:, 0]


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 7])
def test_polynomials_are_recovered_with_their_order(degree):
    random = np.random.default_rng(degree)
    coefficients = random.normal(size=degree + 1)
    curve = polynomial.Polynomial(coefficients, domain=[LOWER, UPPER])
    regressors = fit(curve)
    assert regressors.order[0, 0] == degree
    # also between and beyond the points of the grid
    alpha = np.linspace(LOWER - 0.5, UPPER + 0.5, 333)
    np.testing.assert_allclose(predicted(regressors, alpha)[0][:, 0], curve(alpha), atol=1e-10)
    assert predicted(regressors, ALPHA)[1].max() < 1e-10


def test_float32_rounding_is_taken_for_noise():
    regressors = fit(lambda a: (a**2 - 3 * a).astype(np.float32))
    assert regressors.order[0, 0] == 2
    assert 1e-8 < regressors.noise[0, 0] < 1e-6


def test_order_20_is_stable():
    curve = legendre.Legendre([0] * 20 + [1.0], domain=[LOWER, UPPER])
    regressors = fit(curve)
    assert regressors.order[0, 0] == 20
    np.testing.assert_allclose(predicted(regressors, ALPHA)[0][:, 0], curve(ALPHA), atol=1e-11)


def test_the_baseline_is_the_mean_over_the_range():
    curves = (lambda a: a**3 - a, np.sin, lambda a: np.exp(-a), lambda a: 0 * a + 4)
    exact = [
        (np.array([-1 / 2, 1 / 4]) @ [[LOWER**2, UPPER**2], [LOWER**4, UPPER**4]] @ [-1, 1]) / 3,
        (np.cos(LOWER) - np.cos(UPPER)) / 3,
        (np.exp(-LOWER) - np.exp(-UPPER)) / 3,
        4.0,
    ]
    np.testing.assert_allclose(fit(*curves).baseline[0], exact, atol=1e-12)


def test_the_baseline_of_a_noisy_fit_is_the_integral_of_its_mean():
    random = np.random.default_rng(0)
    regressors = fit(lambda a: a**2 + random.normal(size=len(a)))
    x, w = np.polynomial.legendre.leggauss(30)
    alpha = (x + 1) / 2 * (UPPER - LOWER) + LOWER
    assert regressors.baseline[0, 0] == pytest.approx(w / 2 @ predicted(regressors, alpha)[0][:, 0], abs=1e-12)


def test_the_deviation_covers_what_a_polynomial_cannot_follow():
    kink = fit(lambda a: np.maximum(a - 3.3, 0))
    mean, deviation = predicted(kink, ALPHA)
    miss = np.abs(mean[:, 0] - np.maximum(ALPHA - 3.3, 0))
    assert 1e-3 < deviation[:, 0].mean() < 2e-2
    assert (miss <= 2 * deviation[:, 0]).mean() > 0.9


def test_the_band_of_noise_covers_new_values():
    random = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        regressors = fit(lambda a: np.sin(a) + 0.2 * random.normal(size=len(a)), alphas=40)
        alpha = random.uniform(LOWER, UPPER, 20)
        mean, deviation = predicted(regressors, alpha)
        values = np.sin(alpha) + 0.2 * random.normal(size=20)
        covered.append(np.abs(values - mean[:, 0]) <= 1.96 * deviation[:, 0])
    assert 0.92 < np.mean(covered) < 0.98


def test_the_band_widens_off_the_data():
    random = np.random.default_rng(2)
    regressors = fit(lambda a: a**3 + random.normal(size=len(a)))
    width = predicted(regressors, [3.5, UPPER, UPPER + 0.5, UPPER + 1.5, UPPER + 3])[1][:, 0]
    assert (np.diff(width) > 0).all()
    assert width[-1] > 3 * width[0]


def test_the_evidence_chooses_as_scikit_learns_does():
    """Per order, BayesianRidge on the same polynomials; the order of its highest score."""
    random = np.random.default_rng(3)
    curve = np.sin(2 * ALPHA) + 0.1 * random.normal(size=100)
    regressors = fit(lambda a: curve)
    scores, predictions = [], []
    for order in range(1, 21):
        basis = legendre.legvander(np.linspace(-1, 1, 100), order) @ regressors.basis[: order + 1, : order + 1]
        ridge = BayesianRidge(compute_score=True, alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0)
        ridge.fit(basis[:, 1:], curve)
        scores.append(ridge.scores_[-1])
        predictions.append(ridge.predict(basis[:, 1:], return_std=True))
    chosen = int(np.argmax(scores))
    assert regressors.order[0, 0] == chosen + 1
    mean, deviation = predicted(regressors, ALPHA)
    np.testing.assert_allclose(mean[:, 0], predictions[chosen][0], atol=2e-3)
    np.testing.assert_allclose(deviation[:, 0], predictions[chosen][1], rtol=0.05)


def test_a_fixed_order_is_kept():
    regressors = fit(np.sin, lambda a: a, order=3)
    assert regressors.order.tolist() == [[3, 3]]
    least_squares = polynomial.Polynomial.fit(ALPHA, np.sin(ALPHA), 3)
    np.testing.assert_allclose(predicted(regressors, ALPHA)[0][:, 0], least_squares(ALPHA), atol=1e-4)


def test_effects_are_predictions_less_baselines():
    random = np.random.default_rng(4)
    curves = random.normal(size=(3, 50, 2)).cumsum(axis=1)
    lower, upper = np.array([0.0, -1, 5]), np.array([1.0, 1, 9])
    regressors = fit_regressors(curves, lower, upper)
    alpha = lower + random.uniform(size=(8, 3)) * (upper - lower)
    target = random.integers(0, 2, 8)
    effect, deviation = regressors.effect(alpha, target)
    mean, band = regressors.predict(alpha)
    rows = np.arange(8)
    expected = mean[rows, :, target] - regressors.baseline[:, target].T
    np.testing.assert_allclose(effect, expected, atol=1e-12)
    # the common level, which an effect does not have, is a small part of the band
    assert (deviation < band[rows, :, target] * 1.05).all()


def test_regressors_survive_the_way_through_arrays():
    regressors = fit(np.sin, np.cos)
    again = CausalRegressors.of(regressors.arrays())
    np.testing.assert_array_equal(again.baseline, regressors.baseline)
    np.testing.assert_array_equal(predicted(again, ALPHA)[1], predicted(regressors, ALPHA)[1])


def test_a_coarse_grid_bears_low_orders_only():
    assert default_order(1000) == 20
    assert default_order(100) == 20
    assert default_order(25) == 10
    assert default_order(8) == 4
    assert default_order(1000, 30) == 30
    # Runge's function: a higher order would swing between the points
    runge = fit(lambda a: 1 / (1 + 25 * ((a - 3.5) / 1.5) ** 2), alphas=25)
    fine = np.linspace(LOWER, UPPER, 1001)
    truth = 1 / (1 + 25 * ((fine - 3.5) / 1.5) ** 2)
    assert np.abs(predicted(runge, fine)[0][:, 0] - truth).max() < 0.25
