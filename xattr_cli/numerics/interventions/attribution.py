"""Attribution of samples from causal regressors alone: ACE_i(x_i) for every feature, without the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .interventions import Interventions
from .regression import CausalRegressors

__all__ = ["ARRAYS", "REGRESSOR", "CausalAttribution", "SampleEffects"]

REGRESSOR = "regressor/"
ARRAYS = ("alpha", "discrete", "member/feature", "member/index", "member/value", "ace")
POLYNOMIALS_AT_A_TIME = 2**22


@dataclass(frozen=True)
class SampleEffects:
    """The effects of some samples' own values.

    Attributes:
        effect: (n, features), ACE of the value that the feature has; NaN for an unknown level.
        deviation: (n, features), of the regressor; 0 for levels, whose effects are computed, not regressed.
        outside: (n, features) bool, the value lies outside of the range that was studied, or is no known
            level. The effect is then that of the nearest end of the range, its deviation the extrapolation's.
    """

    effect: np.ndarray
    deviation: np.ndarray
    outside: np.ndarray

    @property
    def relative_error(self) -> np.ndarray:
        """(n,) norm of the deviations over that of the effects; 0 where nothing deviates."""
        return _relative(np.linalg.norm(self.deviation, axis=1), np.linalg.norm(self.effect, axis=1))


@dataclass(frozen=True)
class CausalAttribution:
    """What is needed to attribute samples.

    Attributes:
        interventions: the features.
        regressors: of all features; those of levels are constant and unused.
        ace: (features, alphas, targets), read for levels only.
    """

    interventions: Interventions
    regressors: CausalRegressors
    ace: np.ndarray

    @classmethod
    def load(cls, names: Sequence[str], arrays: Mapping[str, np.ndarray]) -> CausalAttribution:
        """From the arrays of a study, as a result file has them."""
        found = {k.removeprefix(REGRESSOR): v for k, v in arrays.items() if k.startswith(REGRESSOR)}
        interventions = Interventions.load(names, arrays)
        return cls(interventions, CausalRegressors.of(found), np.asarray(arrays["ace"]))

    def effects(self, points: np.ndarray, target: np.ndarray) -> SampleEffects:
        """The effects of samples (n, D), each on one target: (n,) positions among the targets."""
        at_once = max(1, POLYNOMIALS_AT_A_TIME // max(1, len(self.regressors.basis) * len(self.interventions)))
        pieces = [
            self._effects(points[start : start + at_once], target[start : start + at_once])
            for start in range(0, max(1, len(points)), at_once)
        ]
        return SampleEffects(*(np.concatenate([getattr(p, name) for p in pieces]) for name in vars(pieces[0])))

    def maps(self, found: SampleEffects, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Effects as maps over all coordinates; a group's is shared evenly by its members.

        Arguments:
            found: the effects of n samples.
            present: (n, D) bool, False where a coordinate is padding, and has no effect.

        Returns:
            (n, D) the maps, (n,) their relative error, and (n,) whether any value was outside of its range.
        """
        interventions = self.interventions
        counted = np.stack(
            [present[:, interventions.one(k).members].all(axis=1) for k in range(len(interventions))], 1
        )
        effect = np.where(counted, found.effect, 0.0)
        sizes = np.bincount(interventions.owner, minlength=len(interventions))
        maps: np.ndarray = np.zeros(present.shape)
        maps[:, interventions.member] = (effect / sizes)[:, interventions.owner]
        norm = np.sqrt(np.square(maps).sum(axis=1))
        # of a group's members together, the deviation is that of the group, and the norm its effect / sqrt(size)
        deviation = np.sqrt((np.square(found.deviation) / sizes).sum(axis=1, where=counted))
        return maps, _relative(deviation, norm), np.any(found.outside & counted, axis=1)

    def _effects(self, points: np.ndarray, target: np.ndarray) -> SampleEffects:
        alpha = self.interventions.positions(points)
        effect, deviation = np.zeros(alpha.shape), np.zeros(alpha.shape)
        outside = np.zeros(alpha.shape, bool)
        for kind, fill in ((False, self._of_ranges), (True, self._of_levels)):
            chosen = np.flatnonzero(self.interventions.discrete == kind)
            if len(chosen):
                effect[:, chosen], deviation[:, chosen], outside[:, chosen] = fill(
                    chosen, alpha[:, chosen], target
                )
        return SampleEffects(effect, deviation, outside)

    def _of_ranges(
        self, chosen: np.ndarray, alpha: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        regressors = self.regressors.take(chosen)
        lower, upper = regressors.lower, regressors.upper
        # float32 data may miss the float64 end of their own range by a rounding
        slack = 1e-6 * (upper - lower)
        outside = (alpha < lower - slack) | (alpha > upper + slack)
        # a polynomial beyond its data is no statement about the network, but its deviation says so
        effect, _ = regressors.effect(np.clip(alpha, lower, upper), target)
        _, deviation = regressors.effect(alpha, target)
        return effect, deviation, outside

    def _of_levels(
        self, chosen: np.ndarray, level: np.ndarray, target: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        unknown = np.isnan(level)
        place = np.where(unknown, 0, level).astype(np.int64)
        effect = self.ace[chosen, place, target[:, None]]
        return np.where(unknown, np.nan, effect), np.zeros(level.shape), unknown


def _relative(deviation: np.ndarray, norm: np.ndarray) -> np.ndarray:
    error = np.where(deviation > 0, np.inf, 0.0)
    np.divide(deviation, norm, out=error, where=norm > 0)
    return np.asarray(error)
