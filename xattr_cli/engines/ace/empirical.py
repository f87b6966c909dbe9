"""Interventional expectations as means over the data: f with the feature set to α in every sample.

It has no Taylor error, equals the partial dependence of Friedman (2001, Annals of Statistics 29, 1189-1232), and
costs one evaluation per sample, feature and α.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...numerics.interventions.moments import Spread
from .data import points_of
from .taylor import EffectCurves, Intervened, repeated

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ...numerics.interventions.interventions import Intervention, Interventions
    from ..population import Population
    from .data import Choice, PaddingMask

__all__ = ["CALLS_AT_A_TIME", "CHUNK_BYTES", "empirical_curves", "grid_weights"]

CALLS_AT_A_TIME = 16
CHUNK_BYTES = 64 * 2**20


def grid_weights(count: int, discrete: bool) -> np.ndarray:
    """(count,) weights of the mean over α: all the same for levels, the trapezoid rule for a range."""
    weights = np.ones(count)
    if not discrete:
        weights[[0, -1]] = 0.5
    return np.asarray(weights / weights.sum())


def empirical_curves(
    population: Population, interventions: Interventions, presence: PaddingMask, choice: Choice | None
) -> EffectCurves:
    """The mean over the data for some features, with standard errors.

    Arguments:
        population: the dataset.
        interventions: the features.
        presence: which coordinates are padding; a sample counts only where a feature is there.
        choice: of the samples that count; None for all.
    """
    setter = Intervened(interventions, population.scorer)
    gatherers = [_Gatherer(population, interventions.one(k), setter, k) for k in range(len(interventions))]
    for block in population.blocks():
        here = presence.of(block.context, len(block))
        if choice is not None:
            here &= choice.of(points_of(block))[:, None]
        for gatherer in gatherers:
            rows = np.flatnonzero(here[:, gatherer.members].all(axis=1))
            if len(rows):
                chosen = population.scorer.tensor(rows)
                context = {name: tensor[chosen] for name, tensor in block.context.items()}
                gatherer.add(block.points[chosen], context)
    shape = (*interventions.alpha.shape, len(population.targets))
    mean, error, effect_error = np.full((3, *shape), np.nan)
    for feature, gatherer in enumerate(gatherers):
        count = interventions.counts[feature]
        mean[feature, :count] = gatherer.values.mean
        error[feature, :count] = gatherer.values.standard_error
        effect_error[feature, :count] = gatherer.effects.standard_error
    return EffectCurves(mean, error, effect_error, np.array([one.values.count for one in gatherers]))


class _Gatherer:
    """Mean and spread over samples of one feature's curve, and of the curve less its own mean."""

    def __init__(
        self, population: Population, intervention: Intervention, setter: Intervened, feature: int
    ) -> None:
        self.members = intervention.members
        self._population = population
        self._setter = setter
        self._feature = feature
        self._weights = grid_weights(len(intervention.alpha), intervention.discrete)
        shape = (len(intervention.alpha), len(population.targets))
        self.values, self.effects = Spread(shape), Spread(shape)

    def add(self, points: Tensor, context: Mapping[str, Tensor]) -> None:
        """Take in samples (n, D)."""
        for start in range(0, len(points), self._at_once(points)):
            part = slice(start, start + self._at_once(points))
            curves = self._curves(points[part], {name: tensor[part] for name, tensor in context.items()})
            self.values.add(curves)
            self.effects.add(curves - np.einsum("a,nat->nt", self._weights, curves)[:, None])

    def _curves(self, points: Tensor, context: Mapping[str, Tensor]) -> np.ndarray:
        """(n, alphas, targets) scores of every sample at every α."""
        count = len(self._weights)
        rows = points.repeat_interleave(count, dim=0)
        alpha = self._population.scorer.tensor(np.tile(np.arange(count), len(points)))
        self._setter.set(rows, self._feature, alpha)
        scores = self._population.scores(rows, repeated(context, count))
        return np.asarray(scores.double().cpu().numpy()).reshape(len(points), count, -1)

    def _at_once(self, points: Tensor) -> int:
        """Samples whose curves are computed together: some full device calls, within 64 MiB."""
        count, targets = self.values.mean.shape
        bytes_per_sample = count * (points.shape[1] * points.element_size() + 2 * 8 * targets)
        rows = CALLS_AT_A_TIME * self._population.scorer.packing.rows
        return max(1, min(rows // count, CHUNK_BYTES // bytes_per_sample))
