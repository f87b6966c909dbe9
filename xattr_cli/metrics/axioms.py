"""Axioms: what a map of a method that keeps them has to be."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from ..registry import METRICS
from .base import Bench, Measured, Metric, Stream

__all__ = ["Completeness", "InputInvariance", "NonSensitivity"]


@METRICS.register("completeness")
class Completeness(Metric):
    """How far Σ a is from f(x) − f(x'), relative to that; x' is the input with everything replaced.

    The perturbation must be the baseline of the engine, such as `--perturbation mean`, for its axiom to be tested.

    Reference: Sundararajan, Taly and Yan 2017, arXiv 1703.01365.
    """

    family = "axiomatic"
    higher_is_better = False
    replaces = True

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) relative gap."""
        change = bench.score_input - bench.score_replaced.mean(axis=1)
        size = np.maximum(np.abs(bench.score_input), np.abs(bench.score_replaced).max(axis=1))
        gap = np.abs(bench.attributions[name].sum(axis=1) - change)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(np.abs(change) > bench.epsilon * size, gap / np.abs(change), np.nan)


@METRICS.register("non_sensitivity")
class NonSensitivity(Metric):
    """Share of the units that contradict the axiom: the map gives something and the score nothing, or vice versa.

    Each unit is replaced alone. Nothing is less than a small share: of the largest magnitude of the row's map, and
    of the largest change of its score.

    Reference: Nguyen and Martínez 2020, arXiv 2007.07584.
    """

    family = "axiomatic"
    higher_is_better = False
    replaces = True

    threshold: float = Field(default=1e-5, ge=0, lt=1, description="share that counts as nothing")
    most: int = Field(default=256, ge=1, description="units that are tried per row; of more, a random choice")

    def measure(self, bench: Bench) -> Measured:
        """The shares, from scores that all candidates have in common."""
        groups = np.stack([self._tried(bench.units.count, each) for each in bench.generators(Stream.TRIED_UNITS)])
        count = min(self.most, bench.units.count)
        scores = bench.scores_alone(groups, count)
        changes = np.abs(bench.score_input[:, None, None] - scores).max(axis=2)
        largest = changes.max(axis=1, keepdims=True)
        noise = bench.epsilon * np.maximum(np.abs(bench.score_input), np.abs(scores).max(axis=(1, 2)))[:, None]
        still = changes <= np.maximum(self.threshold * largest, noise)
        units = np.argsort(np.where(groups < 0, count, groups), axis=1, kind="stable")[:, :count]
        shares = [self._share(each, units, still) for each in bench.attributions.values()]
        return Measured(tuple(bench.attributions), np.where(np.isfinite(largest[:, 0]), np.stack(shares), np.nan))

    def _tried(self, units: int, generator: np.random.Generator) -> np.ndarray:
        """(units,) number of each unit among those that are tried, −1 for the others."""
        groups = np.full(units, -1)
        if units <= self.most:
            return np.arange(units)
        groups[generator.choice(units, self.most, replace=False)] = np.arange(self.most)
        return groups

    def _share(self, maps: np.ndarray, units: np.ndarray, still: np.ndarray) -> np.ndarray:
        """(rows,) units without attribution and units without effect that are not both."""
        magnitudes = np.abs(maps)
        nothing = magnitudes <= self.threshold * magnitudes.max(axis=1, keepdims=True)
        return np.asarray((np.take_along_axis(nothing, units, axis=1) ^ still).mean(axis=1))


@METRICS.register("input_invariance")
class InputInvariance(Metric):
    """Relative change of the map when every number of the input is shifted and the network shifts it back.

    Baselines stay what they are, so that an engine from a black picture is not invariant, as the authors find.

    Reference: Kindermans et al. 2019, arXiv 1711.00867.
    """

    family = "axiomatic"
    higher_is_better = False
    explains_again = True

    shift: float = Field(default=-1.0, allow_inf_nan=False, description="added to every number of the input")

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) ‖a(x + s) − a(x)‖ / ‖a(x)‖."""
        return bench.relative_change(bench.again.shifted(name, self.shift), bench.again.unchanged(name))
