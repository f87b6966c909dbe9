"""Streamed moments against numpy's, in any order and block size; factors and roots of covariances."""

from __future__ import annotations

import numpy as np
import pytest

from xattr_cli.numerics.interventions.moments import Moments, Spread, factorise, symmetric_root
from xattr_cli.numerics.student import student_factor


def data(samples=400, size=6, offset=0.0, seed=0):
    random = np.random.default_rng(seed)
    return random.normal(size=(samples, size)) @ random.normal(size=(size, size)) + offset


def streamed(points, block, moments=None):
    moments = moments or Moments(points.shape[1])
    for start in range(0, len(points), block):
        moments.add(points[start : start + block])
    return moments


@pytest.mark.parametrize("block", [1, 7, 64, 400])
def test_moments_are_those_of_numpy(block):
    points = data()
    moments = streamed(points, block)
    assert moments.count == 400
    np.testing.assert_allclose(moments.mean, points.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance, np.cov(points.T, bias=True), rtol=1e-12)


def test_a_mean_a_billion_times_the_spread_costs_no_more_than_the_data_have_lost():
    points = data(offset=1e9)
    covariance = streamed(points, 13).covariance
    centred = points - 1e9  # exact: what the addition has rounded away is gone from both
    np.testing.assert_allclose(covariance, np.cov(centred.T, bias=True), rtol=1e-7)


def test_the_order_of_the_data_does_not_matter():
    points = data()
    shuffled = points[np.random.default_rng(1).permutation(len(points))]
    one, other = streamed(points, 32), streamed(shuffled, 5)
    np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-12)


def test_moments_of_parts_merge_to_those_of_the_whole():
    points = data()
    whole, one, other, empty = Moments(6), Moments(6), Moments(6), Moments(6)
    whole.add(points)
    one.add(points[:150])
    other.add(points[150:])
    one.merge(other)
    one.merge(empty)
    empty.merge(one)
    for merged in (one, empty):
        assert merged.count == 400
        np.testing.assert_allclose(merged.covariance, whole.covariance, rtol=1e-13)


def test_moments_of_float32_are_taken_in_float64():
    points = (data() + 1000).astype(np.float32)
    np.testing.assert_allclose(
        streamed(points, 9).covariance, np.cov(points.astype(np.float64).T, bias=True), rtol=1e-9
    )


def test_a_single_sample_does_not_spread():
    moments = streamed(data(samples=1), 1)
    assert not moments.covariance.any()


@pytest.mark.parametrize("block", [1, 9, 200])
def test_spread_of_arrays(block):
    values = np.random.default_rng(0).normal(3.0, 2.0, (200, 4, 5))
    spread = Spread((4, 5))
    for start in range(0, 200, block):
        spread.add(values[start : start + block])
    np.testing.assert_allclose(spread.mean, values.mean(axis=0), rtol=1e-13)
    expected = student_factor(199) * values.std(axis=0, ddof=1) / np.sqrt(200)
    np.testing.assert_allclose(spread.standard_error, expected, rtol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_standard_error_of_few_arrays_is_that_of_a_95_percent_interval(count):
    random = np.random.default_rng(count)
    spread = Spread((20_000,))
    spread.add(random.normal(size=(count, 20_000)))
    assert (np.abs(spread.mean) < 1.96 * spread.standard_error).mean() == pytest.approx(0.95, abs=0.01)


def test_one_array_has_no_standard_error():
    spread = Spread((2,))
    spread.add(np.ones((1, 2)))
    assert np.isnan(spread.standard_error).all()


# --- factors ------------------------------------------------------------------------------------


def test_all_directions_make_up_the_covariance():
    covariance = np.cov(data().T)
    factor = factorise(covariance)
    np.testing.assert_allclose(factor.directions.T @ factor.directions, covariance, atol=1e-12)
    assert factor.retained == 1.0


def test_the_fewest_directions_that_hold_a_share_are_taken():
    covariance = np.diag([50.0, 30.0, 15.0, 5.0])
    for share, rank in ((0.5, 1), (0.51, 2), (0.8, 2), (0.95, 3), (0.96, 4), (1.0, 4)):
        factor = factorise(covariance, share)
        assert len(factor.directions) == rank, share
        assert factor.retained == pytest.approx([0.5, 0.8, 0.95, 1.0][rank - 1])


def test_directions_of_rounding_are_left_out():
    points = data(samples=4, size=10)
    assert len(factorise(np.cov(points.T, bias=True)).directions) == 3


def test_no_variance_has_no_directions():
    factor = factorise(np.zeros((3, 3)))
    assert factor.directions.shape == (0, 3)
    assert factor.retained == 1.0


def test_at_most_so_many_directions():
    factor = factorise(np.diag([4.0, 3.0, 2.0, 1.0]), most=2)
    assert len(factor.directions) == 2
    assert factor.retained == pytest.approx(0.7)


def test_the_symmetric_root_is_a_root_and_has_no_arbitrary_signs():
    covariance = np.cov(data().T)
    root = symmetric_root(covariance)
    np.testing.assert_allclose(root @ root, covariance, atol=1e-12)
    np.testing.assert_allclose(root, root.T, atol=1e-13)
    turned = symmetric_root(covariance * (1 + 1e-14))
    np.testing.assert_allclose(turned, root, atol=1e-10)
