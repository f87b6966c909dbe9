"""Second-order estimate of interventional expectations (Chattopadhyay et al. 2019, equation 5).

E[y | do(x_i = α)] ≈ f(μ) + ½ Σ_k v_kᵀ ∇²f(μ) v_k, with μ the mean of the data and v_k the directions of
their covariance, both after the intervention: μ_i = α, and coordinate i of every v_k is zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import JobError
from ...numerics.student import student_factor

if TYPE_CHECKING:
    from torch import Tensor

    from ...device import Scorer
    from ...device.curvature.directional import DirectionalField
    from ...numerics.interventions.interventions import Interventions
    from ..population import Population
    from .strata import Stratum


__all__ = ["EffectCurves", "Expansion", "Intervened", "Lines", "repeated", "taylor_cost", "taylor_curves"]


@dataclass(frozen=True)
class EffectCurves:
    """Interventional expectations of some features, NaN beyond the α that a feature has.

    Attributes:
        mean: (features, alphas, targets).
        error: (features, alphas, targets), standard error of `mean`; 0 where nothing is random.
        effect_error: (features, alphas, targets), that of `mean` less its own mean over α.
        samples: (features,) how many samples it is made of.
    """

    mean: np.ndarray
    error: np.ndarray
    effect_error: np.ndarray
    samples: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """By name."""
        return dict(vars(self))

    @classmethod
    def joined(cls, pieces: Sequence[Mapping[str, np.ndarray]]) -> EffectCurves:
        """The curves of all features, from those of some at a time."""
        return cls(*(np.concatenate([piece[name] for piece in pieces]) for name in cls.__dataclass_fields__))


def taylor_cost(interventions: Interventions, strata: Sequence[Stratum], passes: int) -> np.ndarray:
    """(features,) evaluations that each feature takes."""
    each = np.zeros(len(interventions), np.int64)
    for feature in range(len(interventions)):
        members = interventions.one(feature).members
        here = [stratum for stratum in strata if stratum.present[members].all()]
        each[feature] = sum(1 + passes * len(stratum.directions) for stratum in here)
    return np.asarray(interventions.counts * each)


@dataclass(frozen=True)
class Expansion:
    """Everything that the estimate needs.

    Attributes:
        population: the network.
        field: its second directional derivatives.
        strata: where and along which directions.
    """

    population: Population
    field: DirectionalField
    strata: Sequence[Stratum]


def taylor_curves(expansion: Expansion, interventions: Interventions) -> EffectCurves:
    """The estimate for some features.

    Raises:
        JobError: a single curve does not fit into memory.
    """
    targets = len(expansion.population.targets)
    shape = (*interventions.alpha.shape, targets)
    mean, error, effect_error = np.full((3, *shape), np.nan)
    samples = np.zeros(len(interventions), np.int64)
    setter = Intervened(interventions, expansion.population.scorer)
    for feature, count in enumerate(interventions.counts):
        here = [s for s in expansion.strata if s.present[interventions.one(feature).members].all()]
        samples[feature] = sum(s.samples for s in here)
        weights = np.array([s.samples for s in here]) / samples[feature]
        curves = np.zeros((3, count, targets))
        for weight, stratum in zip(weights, here, strict=True):
            lines = Lines(expansion.population.scorer, stratum, setter, feature, int(count))
            values, noise, effect_noise = _of_stratum(expansion, stratum, lines)
            curves += np.stack([weight * values, weight**2 * noise, weight**2 * effect_noise])
        mean[feature, :count] = curves[0]
        error[feature, :count], effect_error[feature, :count] = np.sqrt(curves[1:])
    return EffectCurves(mean, error, effect_error, samples)


def _of_stratum(expansion: Expansion, stratum: Stratum, lines: Lines) -> tuple[np.ndarray, ...]:
    """(alphas, targets) three times: the estimate, its variance, and that of the effect."""
    alpha = np.arange(lines.count)
    scores = expansion.population.scores(lines.points(alpha), lines.context(lines.count))
    values = np.asarray(scores.double().cpu().numpy())
    second = _second_derivatives(expansion, lines)
    term = second[:, : stratum.exact].sum(axis=1)
    noise = effect_noise = np.zeros_like(term)
    probed = second[:, stratum.exact :]
    if probed.shape[1]:
        term = term + probed.mean(axis=1)
        noise = _variance_of_half_mean(probed)
        effect_noise = _variance_of_half_mean(probed - probed.mean(axis=0))
    return values + term / 2, noise, effect_noise


def _variance_of_half_mean(values: np.ndarray) -> np.ndarray:
    """(alphas, targets), of half the mean over probes (alphas, probes, targets); NaN for a single probe.

    Widened by Student's factor.
    """
    probes = values.shape[1]
    if probes < 2:
        return np.full((len(values), values.shape[2]), np.nan)
    return np.asarray(student_factor(probes - 1) ** 2 * values.var(axis=1, ddof=1) / probes / 4)


def _second_derivatives(expansion: Expansion, pairs: Lines) -> np.ndarray:
    """(alphas, directions, targets)"""
    targets = len(expansion.population.targets)
    needed = 3 * 8 * len(pairs) * targets
    if needed > expansion.population.memory_bytes:
        raise JobError(
            f"alphas: the second derivatives of one feature take {needed / 2**30:.1f} GiB; lower alphas or "
            "covariance.probes, study fewer targets, or raise compute.memory."
        )
    derivatives = np.empty((len(pairs), targets))
    for piece in expansion.field.evaluate(pairs):
        derivatives[piece.part] = piece.second.double().cpu().numpy()
    return derivatives.reshape(pairs.count, pairs.directions, targets)


class Lines:
    """Pairs of a point and a direction: one feature, every α, every direction of a stratum.

    Arguments:
        scorer: the network.
        stratum: mean and directions.
        setter: sets features.
        feature: which one.
        count: its α.
    """

    def __init__(self, scorer: Scorer, stratum: Stratum, setter: Intervened, feature: int, count: int) -> None:
        self.count = count
        self._scorer = scorer
        self._setter = setter
        self._feature = feature
        self._mean = scorer.tensor(stratum.mean)
        self._context = {name: scorer.tensor(values) for name, values in stratum.context.items()}
        self._directions = scorer.tensor(stratum.directions).clone()
        setter.clear(self._directions, feature)

    def __len__(self) -> int:
        return self.count * self.directions

    @property
    def directions(self) -> int:
        """Directions at every α."""
        return len(self._directions)

    def take(self, part: slice) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Points, directions and context of the pairs of `part`."""
        pair = np.arange(part.start, part.stop)
        points = self.points(pair // self.directions)
        directions = self._directions[self._scorer.tensor(pair % self.directions)]
        return points, directions, self.context(len(pair))

    def points(self, alpha: np.ndarray) -> Tensor:
        """(k, D) the mean of the data, with the feature at its α number (k,)."""
        points = self._mean.repeat(len(alpha), 1)
        self._setter.set(points, self._feature, self._scorer.tensor(alpha))
        return points

    def context(self, rows: int) -> dict[str, Tensor]:
        """What goes with every point."""
        return {name: tensor.expand(rows, *tensor.shape[1:]) for name, tensor in self._context.items()}


class Intervened:
    """Sets features in rows on the device.

    Arguments:
        interventions: which coordinates, and the values of each α.
        scorer: whose device the rows are on.
    """

    def __init__(self, interventions: Interventions, scorer: Scorer) -> None:
        self._members = scorer.tensor(interventions.member)
        self._values = scorer.tensor(np.nan_to_num(interventions.value))
        self._slices = interventions.slices

    def set(self, rows: Tensor, feature: int, alpha: Tensor) -> None:
        """Set one feature of some rows (k, D), in place, to its α number (k,)."""
        members = self._slices[feature]
        rows[:, self._members[members]] = self._values[members][:, alpha].T

    def clear(self, rows: Tensor, feature: int) -> None:
        """Set the coordinates of one feature to zero, in place."""
        rows[:, self._members[self._slices[feature]]] = 0.0


def repeated(context: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
    """The context of rows each of which is repeated."""
    return {name: tensor.repeat_interleave(times, dim=0) for name, tensor in context.items()}
