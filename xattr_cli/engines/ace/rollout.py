"""Average causal effects where outputs feed back into later inputs (Chattopadhyay et al. 2019, section 4.2).

An intervention at step t is followed by the network's own predictions for all later steps; the effect is that
on the prediction after the last step. Mean and covariance are those of the rolled-out sequences.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...device.rollout import Rollout
from ...errors import JobError
from ...numerics.interventions.moments import Moments, Spread
from .curvature import directional_field
from .data import points_of
from .empirical import CHUNK_BYTES, grid_weights
from .strata import Covariance, directions_of
from .taylor import EffectCurves, Intervened

if TYPE_CHECKING:
    from torch import Tensor

    from ...device import Scorer
    from ...device.curvature.directional import DirectionalField
    from ...numerics.interventions.interventions import Interventions
    from ..population import Population
    from .data import Choice

__all__ = ["Feedback", "check_feedback", "find_horizon", "rollout_cost", "rollout_curves"]

# A fitted network leans a little on every step that it sees: of a series of 2,000 steps with three true lags,
# each false one had up to 14 % of the largest Jacobian, all together at most 3 % of the squares.
REACH = 0.95


def check_feedback(population: Population, window: int | None) -> Rollout:
    """The network as a dynamical system.

    Raises:
        JobError: it is none: it does not map sequences (steps, channels) to their next step (channels).
    """
    specs, scorer = population.specs, population.scorer
    wanted = "feedback: autoregressive needs a network that maps sequences (n, steps, channels) to (n, channels)"
    if population.has_context or len(specs) != 1 or len(specs[0].shape) != 2:
        shapes = ", ".join(f"{spec.name} {spec.shape}" for spec in scorer.inputs)
        raise JobError(f"{wanted}, without further inputs or padding; the dataset gives {shapes}.")
    if not scorer.score.takes_outputs_as_they_are:
        raise JobError(f"{wanted} as they are; score: {scorer.score} changes them. Set score: raw.")
    rollout = Rollout(population.scorer, window)
    if window is not None and window > rollout.steps:
        raise JobError(f"window: {window} is more than the {rollout.steps} steps of the sequences.")
    outputs = scorer.scores(next(population.blocks(1)).points, {}).shape[1]
    if outputs != rollout.channels:
        raise JobError(f"{wanted}; this one has {outputs} outputs for {rollout.channels} channels.")
    return rollout


@dataclass(frozen=True)
class Feedback:
    """How far back the network looks.

    Attributes:
        tau: steps before the predicted one that matter.
        sensitivity: (steps that the network sees,), the latest first: root mean square of the Jacobian of
            the prediction by that step, in standard deviations of the channels; NaN if `tau` was given.
    """

    tau: int
    sensitivity: np.ndarray


def find_horizon(population: Population, rollout: Rollout, tau: int | None) -> Feedback:
    """The steps that matter: the latest ones, as many as hold 95 % of the squared Jacobian.

    Raises:
        JobError: `tau` is more than the sequences allow.
    """
    most = rollout.steps - max(rollout.window or 1, 1) + 1
    if tau is not None:
        if tau > most:
            raise JobError(
                f"tau: {tau} needs sequences of at least {tau + (rollout.window or 1) - 1} steps, so that the "
                f"network has its window before the first prediction; these have {rollout.steps}."
            )
        return Feedback(tau, np.full(rollout.seen, np.nan))
    sensitivity = population.once("sensitivity", lambda: {"sensitivity": _sensitivity(population, rollout)})
    norms = sensitivity["sensitivity"]
    squares = np.cumsum(np.square(norms))
    reach = int(np.searchsorted(squares, REACH * squares[-1])) + 1
    if reach > most:
        population.warn(f"tau: {reach} steps matter, but the sequences only allow for interventions on {most}")
    return Feedback(min(reach, most), norms)


def _sensitivity(population: Population, rollout: Rollout) -> np.ndarray:
    """(steps,) the latest first."""
    channels = Spread((rollout.channels,))
    for block in population.blocks():
        channels.add(block.points.double().cpu().numpy().reshape(-1, rollout.channels))
    deviation = np.sqrt(channels.squares / channels.count)
    scale = population.scorer.tensor(np.where(deviation > 0, deviation, 1.0))
    squares, samples = np.zeros(rollout.seen), 0
    for block in population.blocks():
        norms = rollout.sensitivity(_sequences(block.points, rollout), scale).cpu().numpy()
        squares, samples = squares + len(block) * np.square(norms), samples + len(block)
    return np.sqrt(squares / samples)[::-1]


def _sequences(points: Tensor, rollout: Rollout) -> Tensor:
    return points.reshape(-1, rollout.steps, rollout.channels)


def rollout_cost(interventions: Interventions, rollout: Rollout, samples: int) -> np.ndarray:
    """(features,) evaluations of the roll-outs of each feature."""
    steps = np.array([_step(interventions, k, rollout) for k in range(len(interventions))])
    return np.asarray((rollout.steps - steps) * interventions.counts * samples)


def _step(interventions: Interventions, feature: int, rollout: Rollout) -> int:
    intervention = interventions.one(feature)
    steps = set((intervention.members // rollout.channels).tolist())
    if len(steps) > 1:
        raise JobError(
            f"groups.{intervention.name}: reaches over several steps; with feedback, an intervention is on a "
            "single one."
        )
    return int(steps.pop())


def rollout_curves(
    population: Population,
    rollout: Rollout,
    interventions: Interventions,
    covariance: Covariance | None,
    choice: Choice | None,
) -> dict[str, EffectCurves]:
    """Both estimates for some features: over the rolled-out sequences, and at their mean.

    Arguments:
        population: the dataset.
        rollout: the network.
        interventions: the features.
        covariance: how that of the rolled-out sequences is represented; None for no Taylor estimate.
        choice: of the samples that count; None for all.
    """
    shape = (*interventions.alpha.shape, len(population.targets))
    names = ["empirical", *([] if covariance is None else ["taylor"])]
    arrays = {name: np.full((3, *shape), np.nan) for name in names}
    samples = np.zeros(len(interventions), np.int64)
    setter = Intervened(interventions, population.scorer)
    for feature, count in enumerate(interventions.counts):
        rolled = _RolledOut(population, rollout, interventions, feature, with_moments=covariance is not None)
        for block in population.blocks():
            points = (
                block.points
                if choice is None
                else block.points[population.scorer.tensor(choice.of(points_of(block)))]
            )
            rolled.add(_sequences(points, rollout), setter)
        samples[feature] = rolled.samples
        arrays["empirical"][:, feature, :count] = rolled.empirical()
        if covariance is not None:
            arrays["taylor"][:, feature, :count] = rolled.taylor(covariance)
    return {name: EffectCurves(values[0], values[1], values[2], samples) for name, values in arrays.items()}


class _RolledOut:
    """What follows from setting one feature, for every α: the predictions, and the moments of the sequences."""

    def __init__(
        self,
        population: Population,
        rollout: Rollout,
        interventions: Interventions,
        feature: int,
        *,
        with_moments: bool,
    ) -> None:
        intervention = interventions.one(feature)
        self._population, self._rollout = population, rollout
        self._feature, self._name = feature, intervention.name
        self._count = len(intervention.alpha)
        self._step = _step(interventions, feature, rollout)
        self._weights = grid_weights(self._count, intervention.discrete)
        shape = (self._count, len(population.targets))
        self._values, self._effects = Spread(shape), Spread(shape)
        size = rollout.seen * rollout.channels
        self._moments = [Moments(size) for _ in range(self._count)] if with_moments else []
        needed = 3 * 8 * len(self._moments) * size**2
        if needed > population.memory_bytes:
            raise JobError(
                f"alphas: {self._count} covariances of {size} inputs take {needed / 2**30:.1f} GiB; lower alphas, "
                "set window, use estimator: empirical, or raise compute.memory."
            )

    @property
    def samples(self) -> int:
        """How many have been taken in."""
        return self._values.count

    def add(self, sequences: Tensor, setter: Intervened) -> None:
        """Take in samples (n, steps, channels)."""
        bytes_each = self._count * self._rollout.steps * self._rollout.channels * sequences.element_size()
        at_once = max(1, CHUNK_BYTES // (4 * bytes_each))
        for start in range(0, len(sequences), at_once):
            self._add(sequences[start : start + at_once], setter)

    def _add(self, sequences: Tensor, setter: Intervened) -> None:
        rollout, rows = self._rollout, len(sequences)
        repeated = sequences.repeat_interleave(self._count, dim=0)
        flat = repeated.reshape(len(repeated), -1)
        alpha = self._population.scorer.tensor(np.tile(np.arange(self._count), rows))
        setter.set(flat, self._feature, alpha)
        rolled = rollout.continued(flat.reshape(repeated.shape), self._step)
        outputs = rollout.predict(rolled)[:, list(self._population.targets)]
        curves = outputs.double().cpu().numpy().reshape(rows, self._count, -1)
        self._values.add(curves)
        self._effects.add(curves - np.einsum("a,nat->nt", self._weights, curves)[:, None])
        if self._moments:
            seen = rolled[:, -rollout.seen :].double().cpu().numpy().reshape(rows, self._count, -1)
            for position, moments in enumerate(self._moments):
                moments.add(seen[:, position])

    def empirical(self) -> np.ndarray:
        """(3, alphas, targets), as in `EffectCurves`."""
        return np.stack([self._values.mean, self._values.standard_error, self._effects.standard_error])

    def taylor(self, covariance: Covariance) -> np.ndarray:
        """(3, alphas, targets), as in `EffectCurves`."""
        random = self._population.generator(zlib.crc32(self._name.encode()))
        spans, exact = [], []
        for moments in self._moments:
            # the same signs at every α, so that their noise does not make the curve rough
            state = random.bit_generator.state
            factor, count = directions_of(moments.covariance, covariance, random)
            random.bit_generator.state = state
            spans.append(factor.directions)
            exact.append(count)
        scorer = self._rollout.scorer_of(self._rollout.seen)
        means = np.stack([moments.mean for moments in self._moments])
        pairs = _Spans(scorer, means, spans)
        field = directional_field(self._population, pairs, scorer)
        scores = scorer.scores(scorer.tensor(means), {})[:, list(self._population.targets)]
        second = self._second(field, pairs, spans)
        return _sum_up(scores.double().cpu().numpy(), second, exact)

    def _second(self, field: DirectionalField, pairs: _Spans, spans: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Per α, (directions, targets) second derivatives."""
        derivatives = np.empty((len(pairs), len(self._population.targets)))
        for piece in field.evaluate(pairs):
            derivatives[piece.part] = piece.second.double().cpu().numpy()
        return np.split(derivatives, np.cumsum([len(span) for span in spans])[:-1])


def _sum_up(values: np.ndarray, second: Sequence[np.ndarray], exact: Sequence[int]) -> np.ndarray:
    """(3, alphas, targets): the estimate, its standard error, and, not knowing better, the same for the effect."""
    mean, error = values.copy(), np.zeros_like(values)
    for position, (each, count) in enumerate(zip(second, exact, strict=True)):
        probed = each[count:]
        mean[position] += each[:count].sum(axis=0) / 2
        if len(probed):
            mean[position] += probed.mean(axis=0) / 2
            error[position] = probed.std(axis=0, ddof=1) / np.sqrt(len(probed)) / 2
    return np.stack([mean, error, error])


class _Spans:
    """Pairs of a point and a direction: every α has a mean and directions of its own."""

    def __init__(self, scorer: Scorer, means: np.ndarray, spans: Sequence[np.ndarray]) -> None:
        owner = np.repeat(np.arange(len(means)), [len(span) for span in spans])
        self._owner = scorer.tensor(owner)
        self._means = scorer.tensor(means)
        self._directions = scorer.tensor(np.concatenate(spans))

    def __len__(self) -> int:
        return len(self._directions)

    def take(self, part: slice) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Points, directions and context of the pairs of `part`."""
        return self._means[self._owner[part]], self._directions[part], {}
