"""Attribution of samples from causal regressors alone: ACE_i(x_i) for every feature, without the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .interventions import Interventions
from .regression import CausalRegressors

__all__ = ["ARRAYS", "REGRESSOR", "CausalAttribution", "SampleEffects", "misfit"]

REGRESSOR = "regressor/"
ARRAYS = ("alpha", "discrete", "member/feature", "member/index", "member/value", "ace")
POLYNOMIALS_AT_A_TIME = 2**22
DEVIATIONS = 2.0
ROUNDING = 16 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class SampleEffects:
    """The effects of some samples' own values.

    Attributes:
        effect: (n, features), ACE of the value that the feature has; NaN for an unknown level.
        deviation: (n, features), of the regressor; 0 for levels, whose effects are computed, not regressed.
        error: (n, features), what the effect may be off from the network's own, see `misfit`; 0 for levels.
        outside: (n, features) bool, the value lies outside of the range that was studied, or is no known
            level. The effect is then that of the nearest end of the range, its deviation and its error those
            of the extrapolation.

    Example:
        >>> effect, error = np.array([[3.0, 4.0]]), np.array([[0.3, 0.4]])
        >>> SampleEffects(effect, error, error, np.zeros((1, 2), bool)).relative_error.tolist()
        [0.1]
    """

    effect: np.ndarray
    deviation: np.ndarray
    error: np.ndarray
    outside: np.ndarray

    @property
    def relative_error(self) -> np.ndarray:
        """(n,) norm of the errors over that of the effects, which covers the truth in 95 % of samples."""
        return _relative(np.linalg.norm(self.error, axis=1), np.linalg.norm(self.effect, axis=1))


@dataclass(frozen=True)
class CausalAttribution:
    """What is needed to attribute samples.

    Attributes:
        interventions: the features.
        regressors: of all features; those of levels are constant and unused.
        ace: (features, alphas, targets), the effects that the regressors were fitted to.

    Example:
        >>> from xattr_cli.numerics.interventions.interventions import Intervention
        >>> from xattr_cli.numerics.interventions.regression import fit_regressors
        >>> grid = np.linspace(0.0, 1.0, 21)
        >>> curve = (grid**2 - 1 / 3)[None, :, None]
        >>> fit = fit_regressors(curve, np.array([0.0]), np.array([1.0]))
        >>> age = Interventions.of([Intervention("age", np.array([0]), grid, grid[None])])
        >>> effects = CausalAttribution(age, fit, curve).effects(np.array([[1.0]]), np.array([0]))
        >>> effects.effect.round(6).tolist()
        [[0.666667]]
    """

    interventions: Interventions
    regressors: CausalRegressors
    ace: np.ndarray

    @classmethod
    def load(cls, names: Sequence[str], arrays: Mapping[str, np.ndarray]) -> CausalAttribution:
        """From the arrays of a study, as a result file has them."""
        regressors = {k.removeprefix(REGRESSOR): v for k, v in arrays.items() if k.startswith(REGRESSOR)}
        interventions = Interventions.load(names, arrays)
        return cls(interventions, CausalRegressors.of(regressors), np.asarray(arrays["ace"]))

    def effects(self, points: np.ndarray, target: np.ndarray) -> SampleEffects:
        """The effects of samples (n, D), each on one target: (n,) positions among the targets."""
        at_once = max(1, POLYNOMIALS_AT_A_TIME // max(1, len(self.regressors.basis) * len(self.interventions)))
        pieces = [
            self._effects(points[start : start + at_once], target[start : start + at_once])
            for start in range(0, max(1, len(points)), at_once)
        ]
        return SampleEffects(*(np.concatenate([getattr(p, name) for p in pieces]) for name in vars(pieces[0])))

    def maps(self, effects: SampleEffects, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Effects as maps over all coordinates; a group's is shared evenly by its members.

        Arguments:
            effects: the effects of n samples.
            present: (n, D) bool, False where a coordinate is padding, and has no effect.

        Returns:
            (n, D) the maps, (n,) their relative error, and (n,) whether any value was outside of its range.
        """
        interventions = self.interventions
        counted = np.stack(
            [present[:, interventions.one(k).members].all(axis=1) for k in range(len(interventions))], 1
        )
        effect = np.where(counted, effects.effect, 0.0)
        sizes = np.bincount(interventions.owner, minlength=len(interventions))
        maps: np.ndarray = np.zeros(present.shape)
        maps[:, interventions.member] = (effect / sizes)[:, interventions.owner]
        norm = np.sqrt(np.square(maps).sum(axis=1))
        # of a group's members together, the error is that of the group, and the norm its effect / sqrt(size)
        error = np.sqrt((np.square(effects.error) / sizes).sum(axis=1, where=counted))
        return maps, _relative(error, norm), np.any(effects.outside & counted, axis=1)

    def _effects(self, points: np.ndarray, target: np.ndarray) -> SampleEffects:
        alpha = self.interventions.positions(points)
        effect, deviation, error = np.zeros((3, *alpha.shape))
        effects = SampleEffects(effect, deviation, error, np.zeros(alpha.shape, bool))
        for kind, effects_of in ((False, self._of_ranges), (True, self._of_levels)):
            chosen = np.flatnonzero(self.interventions.discrete == kind)
            if len(chosen):
                part = effects_of(chosen, alpha[:, chosen], target)
                for name, values in vars(part).items():
                    getattr(effects, name)[:, chosen] = values
        return effects

    def _of_ranges(self, chosen: np.ndarray, alpha: np.ndarray, target: np.ndarray) -> SampleEffects:
        regressors = self.regressors.take(chosen)
        lower, upper = regressors.lower, regressors.upper
        # float32 data may miss the float64 end of their own range by a rounding
        slack = 1e-6 * (upper - lower)
        outside = (alpha < lower - slack) | (alpha > upper + slack)
        # a polynomial beyond its data is no statement about the network, but its deviation says so
        effect, _ = regressors.effect(np.clip(alpha, lower, upper), target)
        _, deviation = regressors.effect(alpha, target)
        error = np.empty(alpha.shape)
        for output in np.unique(target):
            rows = np.flatnonzero(target == output)
            curves = self.ace[chosen, : self.interventions.counts[chosen[0]], output]
            error[rows] = misfit(regressors, curves, alpha[rows], deviation[rows], int(output))
        return SampleEffects(effect, deviation, error, outside)

    def _of_levels(self, chosen: np.ndarray, level: np.ndarray, target: np.ndarray) -> SampleEffects:
        unknown = np.isnan(level)
        position = np.where(unknown, 0, level).astype(np.int64)
        effect = self.ace[chosen, position, target[:, None]]
        nothing = np.zeros(level.shape)
        return SampleEffects(np.where(unknown, np.nan, effect), nothing, nothing, unknown)


def misfit(
    regressors: CausalRegressors, curves: np.ndarray, alpha: np.ndarray, deviation: np.ndarray, target: int
) -> np.ndarray:
    """What the effects by regressors may be off from those that they were fitted to.

    What a polynomial cannot follow, such as a kink or a step, stands in one place of the range and not in others:
    the residuals at the points of the grid on both sides of a value say it, an overall deviation does not. What
    the fit owes to noise comes on top, with two of its deviations.

    Arguments:
        regressors: of some features.
        curves: (features, alphas), the effects on a target at equally spaced points of each range.
        alpha: (n, features).
        deviation: (n, features), of the effect at α, the regressor's.
        target: position among the targets.

    Returns:
        (n, features), which covers the true difference in 95 % of the samples.

    Example:
        >>> from xattr_cli.numerics.interventions.regression import fit_regressors
        >>> grid = np.linspace(0.0, 1.0, 21)
        >>> curve = (grid**2 - 1 / 3)[None, :, None]
        >>> fit = fit_regressors(curve, np.array([0.0]), np.array([1.0]))
        >>> deviation = fit.effect(np.array([[0.5]]), np.array([0]))[1]
        >>> error = misfit(fit, curve[..., 0], np.array([[0.5]]), deviation, target=0)
        >>> bool(error.max() < 1e-6)  # a parabola is followed
        True
    """
    lower, upper = regressors.lower, regressors.upper
    steps = curves.shape[1] - 1
    grid = lower + (upper - lower) * np.linspace(0.0, 1.0, steps + 1)[:, None]
    fitted, _ = regressors.effect(grid, np.full(len(grid), target))
    residual = np.abs(curves - fitted.T)
    around = np.maximum(residual[:, 1:], residual[:, :-1])
    cell = np.clip((alpha - lower) / (upper - lower) * steps, 0, steps - 1).astype(np.int64)
    nearby = around[np.arange(len(lower)), cell]
    of_fit = np.maximum(np.square(deviation) - np.square(regressors.noise[:, target]), 0.0)
    size = np.abs(curves).max(axis=1) + np.abs(regressors.baseline[:, target])
    return np.asarray(np.sqrt(np.square(nearby) + DEVIATIONS**2 * of_fit + np.square(ROUNDING * size)))


def _relative(error: np.ndarray, norm: np.ndarray) -> np.ndarray:
    relative = np.where(error > 0, np.inf, 0.0)
    np.divide(error, norm, out=relative, where=norm > 0)
    return np.asarray(relative)
