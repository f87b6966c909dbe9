"""From interventional expectations to what a file holds: effects, baselines, regressors, and their errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import RunError
from ...numerics.interventions.regression import CausalRegressors, default_order, fit_regressors
from .data import PaddingMask, points_of
from .empirical import grid_weights
from .taylor import EffectCurves

if TYPE_CHECKING:
    from ...numerics.interventions.interventions import Interventions
    from ..population import Population

__all__ = ["AXES", "Found", "assemble_effects", "histograms"]

BINS = 40
REGRESSOR_AXES = {
    "lower": ("feature",),
    "upper": ("feature",),
    "basis": ("legendre", "order"),
    "weights": ("feature", "target", "order"),
    "order": ("feature", "target"),
    "noise": ("feature", "target"),
    "shrinkage": ("feature", "target"),
}
CURVE = ("feature", "alpha", "target")
AXES: Mapping[str, tuple[str, ...]] = {
    **{f"regressor/{name}": axes for name, axes in REGRESSOR_AXES.items()},
    **dict.fromkeys(("interventional", "taylor", "empirical", "ace", "standard_error"), CURVE),
    **dict.fromkeys(
        ("interventional_error", "taylor_error", "empirical_error", "fit/mean", "fit/deviation"), CURVE
    ),
    "features": ("feature",),
    "alpha": ("feature", "alpha"),
    "discrete": ("feature",),
    "samples": ("feature",),
    "baseline": ("feature", "target"),
    "baseline_by_quadrature": ("feature", "target"),
    "distance": ("feature", "target"),
    "expectation_distance": ("feature", "target"),
    "importance": ("input", "target"),
    "member/feature": ("member",),
    "member/index": ("member",),
    "member/value": ("member", "alpha"),
    "histogram/counts": ("feature", "bin"),
    "histogram/outside": ("feature",),
}
"""Labels of the axes of everything that is stored."""


@dataclass(frozen=True)
class Found:
    """What the estimators have found.

    Attributes:
        interventions: the features.
        curves: estimator -> its curves; the first one is what effects are made of.
    """

    interventions: Interventions
    curves: Mapping[str, EffectCurves]


def assemble_effects(
    estimated: Found, names: Sequence[str], *, order: int | None, most: int
) -> dict[str, np.ndarray | tuple[str, ...]]:
    """All values of a study that follow from the curves.

    Arguments:
        estimated: the curves.
        names: (D,) of all inputs.
        order: of all regressors; None to choose each by its evidence.
        most: highest order that is tried.

    Raises:
        RunError: an expectation is not finite.
    """
    interventions = estimated.interventions
    curves = next(iter(estimated.curves.values()))
    for name, each in estimated.curves.items():
        _refuse_nonfinite(name, each.mean, interventions)
    regressors = _regressors(interventions, curves.mean, order, most)
    by_quadrature = _mean_over_grid(interventions, curves.mean)
    baseline = np.where(interventions.discrete[:, None], by_quadrature, regressors.baseline)
    ace = curves.mean - baseline[:, None]
    fitted, deviation = _fit(regressors, interventions)
    values: dict[str, np.ndarray | tuple[str, ...]] = {
        "features": interventions.names,
        **interventions.arrays(),
        "samples": curves.samples,
        "estimators": tuple(estimated.curves),
        "interventional": curves.mean,
        "interventional_error": curves.error,
        "ace": ace,
        "standard_error": curves.effect_error,
        "baseline": baseline,
        "baseline_by_quadrature": by_quadrature,
        "importance": _importance(interventions, ace, len(names)),
        **{f"regressor/{name}": array for name, array in regressors.arrays().items()},
        "fit/mean": fitted,
        "fit/deviation": deviation,
    }
    if len(estimated.curves) > 1:
        values |= _both(interventions, estimated.curves)
    return values


def _refuse_nonfinite(estimator: str, mean: np.ndarray, interventions: Interventions) -> None:
    known = np.isfinite(interventions.alpha)[..., None]
    bad = np.argwhere(known & ~np.isfinite(mean))
    if len(bad):
        feature, alpha, _ = bad[0]
        raise RunError(
            f"the {estimator} estimate is not finite at do({interventions.names[feature]!r} = "
            f"{interventions.alpha[feature, alpha]:g}): the network gives NaN or infinity there. Narrow the "
            "range, or leave the feature out."
        )


def _regressors(interventions: Interventions, mean: np.ndarray, order: int | None, most: int) -> CausalRegressors:
    """Regressors of all features; those of levels are all zero."""
    ranges = np.flatnonzero(~interventions.discrete)
    shape = (len(interventions), mean.shape[2])
    if not len(ranges):
        nothing = np.zeros(shape)
        return CausalRegressors(
            interventions.lower, interventions.upper, np.ones((1, 1)), np.zeros((*shape, 1)),
            nothing.astype(np.int64), nothing, nothing,
        )  # fmt: skip
    alphas = int(interventions.counts[ranges[0]])
    fitted = fit_regressors(
        mean[ranges, :alphas],
        interventions.lower[ranges],
        interventions.upper[ranges],
        order=order,
        most=default_order(alphas, most),
    )
    spread = {}
    for name in ("weights", "order", "noise", "shrinkage"):
        values = getattr(fitted, name)
        spread[name] = np.zeros((len(interventions), *values.shape[1:]), values.dtype)
        spread[name][ranges] = values
    return CausalRegressors(interventions.lower, interventions.upper, fitted.basis, **spread)


def _mean_over_grid(interventions: Interventions, mean: np.ndarray) -> np.ndarray:
    """(features, targets) mean over α by the trapezoid rule, or over levels."""
    means = np.empty((len(interventions), mean.shape[2]))
    for feature, count in enumerate(interventions.counts):
        means[feature] = grid_weights(count, bool(interventions.discrete[feature])) @ mean[feature, :count]
    return means


def _fit(regressors: CausalRegressors, interventions: Interventions) -> tuple[np.ndarray, np.ndarray]:
    """(features, alphas, targets) twice: the regressors on their grids, NaN for levels."""
    grid = np.where(interventions.discrete[:, None], np.nan, interventions.alpha)
    lower, upper = regressors.lower[:, None], regressors.upper[:, None]
    inside = np.where(np.isfinite(grid), grid, (lower + upper) / 2)
    mean, deviation = regressors.predict(inside.T)
    unknown = np.isnan(grid)[..., None]
    return tuple(np.where(unknown, np.nan, np.moveaxis(v, 0, 1)) for v in (mean, deviation))  # type: ignore[return-value]


def _importance(interventions: Interventions, ace: np.ndarray, size: int) -> np.ndarray:
    """(D, targets) mean over α of |ACE|; 0 for what was not studied; a group's for each of its members."""
    mean = np.nanmean(np.abs(ace), axis=1)
    importance = np.zeros((size, ace.shape[2]))
    np.maximum.at(importance, interventions.member, mean[interventions.owner])
    return importance


def _both(interventions: Interventions, curves: Mapping[str, EffectCurves]) -> dict[str, np.ndarray]:
    """Each estimator's own curves; root mean square over α of their difference, and of that of the effects."""
    comparison: dict[str, np.ndarray] = {}
    for name, each in curves.items():
        comparison[name] = each.mean
        comparison[f"{name}_error"] = each.error
    regression, direct = (each.mean for each in curves.values())
    apart = regression - direct
    comparison["expectation_distance"] = np.sqrt(np.nanmean(np.square(apart), axis=1))
    comparison["distance"] = np.sqrt(np.nanvar(apart, axis=1))
    return comparison


def histograms(
    population: Population, interventions: Interventions, presence: PaddingMask
) -> dict[str, np.ndarray]:
    """Where the data stand: counts in equal bins of each range, or of each level; and how many are outside."""
    features = len(interventions)
    bins = max(BINS, int(interventions.counts[interventions.discrete].max(initial=0)))
    counts, outside = np.zeros((features, bins), np.int64), np.zeros(features, np.int64)
    lower, upper, discrete = interventions.lower, interventions.upper, interventions.discrete
    for block in population.blocks():
        here = presence.of(block.context, len(block))
        alpha = interventions.positions(points_of(block))
        slack = 1e-6 * (upper - lower)
        is_in = np.where(discrete, np.isfinite(alpha), (alpha >= lower - slack) & (alpha <= upper + slack))
        position = np.where(discrete, alpha, (alpha - lower) / (upper - lower) * BINS)
        last = np.where(discrete, bins, BINS) - 1
        bin_of = np.clip(np.nan_to_num(position), 0, last).astype(np.int64)
        for feature in range(features):
            there = here[:, interventions.one(feature).members].all(axis=1)
            inside = there & is_in[:, feature]
            counts[feature] += np.bincount(bin_of[inside, feature], minlength=bins)
            outside[feature] += int((there & ~inside).sum())
    return {"histogram/counts": counts, "histogram/outside": outside}
