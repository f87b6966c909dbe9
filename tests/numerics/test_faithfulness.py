"""Faithfulness metrics against closed forms, against every order there is, and by definition."""

from __future__ import annotations

from itertools import combinations, permutations
from math import comb, sqrt

import numpy as np
import pytest
from scipy import integrate, stats

from xattr_cli.errors import JobError
from xattr_cli.numerics.faithfulness.metrics import (
    CURVE_METRICS,
    check_subset_size,
    correlation,
    curve_steps,
    metric_estimate,
    removal_ranks,
    subset_masks,
)
from xattr_cli.numerics.faithfulness.units import units_of
from xattr_cli.samples import InputSpec

PGU, PGI, DELETION, INSERTION = (CURVE_METRICS[name] for name in ("pgu", "pgi", "deletion", "insertion"))
FLOAT32 = np.dtype(np.float32)


def generator(seed=0):
    return np.random.default_rng(seed)


def ranks(attribution, metric, tie_breaker=None):
    attribution = np.atleast_2d(np.array(attribution, float))
    ties = (
        np.broadcast_to(np.arange(attribution.shape[1]), attribution.shape) if tie_breaker is None else tie_breaker
    )
    return removal_ranks(attribution, ties, metric)


def linear_number(metric, contributions, attribution):
    """The metric of f = Σ contributions, with units set to zero as `attribution` ranks them."""
    place = ranks(attribution, metric)[0]
    steps = np.arange(len(contributions) + 1)
    scores = np.array([contributions[place >= k].sum() for k in steps])
    curve = metric.curve(scores[None, :, None], np.array([contributions.sum()]))
    return metric.number(curve, steps)[0]


# --- order --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "first_to_last"),
    [(PGI, [1, 2, 0, 3]), (PGU, [3, 0, 2, 1]), (DELETION, [2, 0, 3, 1]), (INSERTION, [1, 3, 0, 2])],
    ids=lambda value: getattr(value, "name", ""),
)
def test_gaps_go_by_magnitude_and_areas_by_signed_attribution(metric, first_to_last):
    place = ranks([0.5, -3.0, 2.0, 0.1], metric)[0]
    assert np.argsort(place).tolist() == first_to_last


@pytest.mark.parametrize("metric", CURVE_METRICS.values(), ids=list(CURVE_METRICS))
def test_ties_go_in_the_order_of_the_rows_random_numbers(metric):
    ties = np.array([[0.3, 0.1, 0.9, 0.2], [0.9, 0.8, 0.1, 0.2]])
    constant = ranks(np.full((2, 4), 7.0), metric, ties)
    assert constant.tolist() == [[2, 0, 3, 1], [3, 2, 0, 1]]
    # a zero has no sign, though −0.0 exists
    assert ranks([[0.0, -0.0, 0.0, -0.0]] * 2, metric, ties).tolist() == constant.tolist()


# --- numbers ------------------------------------------------------------------------------------


def test_the_gaps_of_a_linear_network_have_a_closed_form():
    c = generator().uniform(0.5, 2, 7)
    ascending = np.sort(c)
    place = np.arange(7)
    # the i-th smallest is missing from k = i + 1 on, in U − i of the U points
    assert linear_number(PGU, c, c) == pytest.approx((ascending * (7 - place)).sum() / 7, rel=1e-12)
    assert linear_number(PGI, c, c) == pytest.approx((ascending[::-1] * (7 - place)).sum() / 7, rel=1e-12)


def test_a_gap_is_the_absolute_change_of_the_sum_not_the_sum_of_changes():
    c = np.array([3.0, -2.0, 1.0])
    assert linear_number(PGU, c, c) == pytest.approx((1 + abs(1 - 2) + abs(1 - 2 + 3)) / 3)
    assert linear_number(PGI, c, c) == pytest.approx((3 + abs(3 - 2) + abs(3 - 2 + 1)) / 3)


def test_the_areas_of_a_linear_network_have_a_closed_form():
    c = generator(1).normal(size=6)
    falling = np.concatenate([[0], np.cumsum(np.sort(c)[::-1])])
    area = integrate.trapezoid(c.sum() - falling, dx=1 / 6)
    assert linear_number(DELETION, c, c) == pytest.approx(area, rel=1e-12)
    inserted = integrate.trapezoid(falling, dx=1 / 6)  # highest first, from nothing: as the paper draws it
    assert linear_number(INSERTION, c, c) == pytest.approx(inserted, rel=1e-12)


@pytest.mark.parametrize("name", CURVE_METRICS)
def test_no_order_beats_the_true_contributions_of_a_linear_network(name):
    metric = CURVE_METRICS[name]
    c = generator(2).normal(size=5)
    c = np.abs(c) if metric.is_gap else c
    every = [linear_number(metric, c, np.array(order, float)) for order in permutations(range(5))]
    best = max(every) if metric.higher_is_better else min(every)
    assert linear_number(metric, c, c) == pytest.approx(best, abs=1e-12)
    assert max(every) - min(every) > 0.1


def test_draws_average_the_gaps_and_not_the_scores():
    scores = np.array([[[1.0, 1.0], [0.0, 2.0]]])
    assert PGU.curve(scores, np.array([1.0])).tolist() == [[0.0, 1.0]]
    assert DELETION.curve(scores, np.array([1.0])).tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(("units", "most"), [(1, 32), (5, 32), (32, 32), (33, 32), (50176, 32), (10, 1)])
def test_curves_run_from_nothing_to_everything_in_few_steps(units, most):
    steps = curve_steps(units, most)
    assert steps[0] == 0 and steps[-1] == units and (np.diff(steps) > 0).all()
    assert len(steps) == min(units, most) + 1
    assert np.diff(steps).max() - np.diff(steps).min() <= 1


@pytest.mark.parametrize("metric", [PGU, DELETION], ids=["gap", "area"])
def test_fewer_points_change_nothing_where_the_curve_is_straight_between_them(metric):
    units = 40
    knots = np.array([0, 7, 20, 40])
    whole = np.interp(np.arange(units + 1), knots, [0.0, 4.0, 1.0, 6.0])
    coarse = metric.number(whole[None, knots], knots)
    assert coarse == pytest.approx(metric.number(whole[None], np.arange(units + 1)), rel=1e-12)
    expected = whole[1:].mean() if metric.is_gap else integrate.trapezoid(whole, dx=1 / units)
    assert coarse == pytest.approx(expected, rel=1e-12)


# --- sensitivity-n ------------------------------------------------------------------------------


def test_few_subsets_are_all_taken_and_many_are_drawn():
    every = subset_masks(5, 2, 100, generator())
    assert sorted(map(tuple, every.nonzero()[1].reshape(-1, 2))) == list(combinations(range(5), 2))
    drawn = subset_masks(20, 6, 100, generator())
    assert drawn.shape == (100, 20) and (drawn.sum(axis=1) == 6).all()
    assert len({mask.tobytes() for mask in drawn}) > 90
    assert np.abs(drawn.mean(axis=0) - 0.3).max() < 4 * sqrt(0.3 * 0.7 / 100)


def test_the_correlation_is_pearsons():
    sums, drops = generator(3).normal(size=(2, 4, 30))
    found = correlation(sums, drops + sums, np.zeros(4))
    expected = [stats.pearsonr(a, b).statistic for a, b in zip(sums, drops + sums, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_map_that_says_nothing_has_no_correlation_and_a_still_network_tells_nothing():
    steady, moving = np.full((1, 8), 3.0), generator().normal(size=(1, 8))
    assert correlation(steady, moving, np.zeros(1)) == 0
    assert correlation(steady + 1e-14 * moving, moving, np.zeros(1)) == 0
    assert np.isnan(correlation(moving, steady, np.zeros(1)))
    assert np.isnan(correlation(moving, steady + 1e-7 * moving, np.array([1e-6])))
    assert np.isnan(correlation(np.where(np.arange(8) == 2, np.nan, moving), moving, np.zeros(1)))


@pytest.mark.parametrize(("size", "units"), [(0, 5), (5, 5), (6, 5), (-1, 5)])
def test_a_subset_of_all_or_none_is_refused(size, units):
    with pytest.raises(JobError, match=rf"--n {size}: must be from 1 to 4: there are 5 units"):
        check_subset_size(size, units)


def test_two_units_have_too_few_subsets():
    with pytest.raises(JobError, match="2 units have fewer than 3 subsets of a size"):
        check_subset_size(1, 2)
    check_subset_size(1, 3)


# --- units --------------------------------------------------------------------------------------


def spec(name="X", shape=(2, 2, 3), axes=("channel", "height", "width")):
    return InputSpec(name, shape, FLOAT32, axes)


def test_a_pixel_is_all_its_channels():
    units = units_of([spec()])
    assert (units.kind, units.count) == ("pixel", 6)
    values = np.arange(12.0).reshape(1, 2, 2, 3)
    assert units.totals(values.reshape(1, -1)).tolist() == [values.sum(axis=1).reshape(-1).tolist()]
    last = units_of([spec(shape=(2, 3, 2), axes=("height", "width", "channel"))])
    assert last.totals(values.reshape(1, -1)).tolist() == [values.reshape(1, 2, 3, 2).sum(axis=3).ravel().tolist()]


def test_a_step_is_all_its_features():
    sequence = spec(shape=(4, 3), axes=("step", "feature"))
    assert units_of([sequence]).count == 12
    units = units_of([sequence], "step")
    assert (units.kind, units.count) == ("step", 4)
    assert units.of.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_several_inputs_have_units_of_their_own():
    table = spec("T", (3,), ("feature",))
    units = units_of([table, spec(), table])
    assert (units.kind, units.count) == ("feature and pixel", 12)
    assert units.of.tolist() == [0, 1, 2, *range(3, 9), *range(3, 9), 9, 10, 11]
    values = generator().normal(size=(5, 18))
    np.testing.assert_allclose(units.totals(values).sum(axis=1), values.sum(axis=1), rtol=1e-12)
    assert units_of([table, spec()], "feature").count == 15


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pixels", "no such unit. Allowed: auto, feature, pixel, step, token. Did you mean 'pixel'?"),
        ("token", "no explained input has an axis 'embedding' beside others ('X': channel, height, width)"),
    ],
)
def test_units_that_the_inputs_do_not_have_are_refused(kind, message):
    with pytest.raises(JobError) as refusal:
        units_of([spec()], kind)
    assert message in str(refusal.value)


# --- means and differences ----------------------------------------------------------------------


def test_one_row_per_sample_has_the_usual_standard_error():
    values = generator(4).normal(size=50)
    found = metric_estimate(values, np.arange(50))
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(stats.sem(values), rel=1e-12)


def test_targets_of_one_sample_are_no_independent_evidence():
    values = generator(5).normal(size=40)
    once = metric_estimate(values, np.arange(40))
    repeated = metric_estimate(np.repeat(values, 10), np.repeat(np.arange(40), 10))
    assert repeated.mean == pytest.approx(once.mean)
    assert repeated.standard_error == pytest.approx(once.standard_error, rel=1e-12)


def test_the_standard_error_covers_the_truth():
    samples = np.arange(30).repeat(3)
    draws = generator(6).normal(size=(300, 90)) + generator(7).normal(size=(300, 30)).repeat(3, axis=1)
    found = [metric_estimate(values, samples) for values in draws]
    within = np.mean([abs(one.mean) <= 2 * one.standard_error for one in found])
    assert 0.9 <= within <= 0.99


def test_too_little_evidence_has_no_standard_error():
    assert np.isnan(metric_estimate(np.array([1.0, 2.0]), np.array([3, 3])).standard_error)
    nothing = metric_estimate(np.empty(0), np.empty(0))
    assert np.isnan(nothing.mean) and np.isnan(nothing.standard_error)


def test_all_subsets_are_counted_exactly():
    assert len(subset_masks(8, 4, comb(8, 4), generator())) == comb(8, 4)


def test_tokens_have_their_embedding_together():
    text = InputSpec("embedding", (2, 3), FLOAT32, axes=("token", "embedding"))
    table = InputSpec("age", (2,), FLOAT32)
    for kind in ("auto", "token", "step"):
        units = units_of([text, table], kind)
        assert units.of.tolist() == [0, 0, 0, 1, 1, 1, 2, 3], kind
    assert units_of([text]).kind == "token" and units_of([text], "feature").count == 6
    steps = InputSpec("X", (2, 3), FLOAT32, axes=("step", "feature"))
    assert units_of([steps]).count == 6 and units_of([steps], "step").count == 2
    with pytest.raises(JobError, match="--unit token: no explained input has an axis 'embedding' beside others"):
        units_of([steps], "token")
