"""Estimates of interventional expectations: which are made, over how many samples, and in which durable steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ModelError
from ...numerics.interventions.interventions import Interventions
from .curvature import directional_field
from .data import MOST_CONTEXTS, Choice, DataSummary, PaddingMask
from .design import InterventionDesign
from .empirical import empirical_curves
from .rollout import Feedback, rollout_cost, rollout_curves
from .strata import Stratum, find_strata
from .taylor import EffectCurves, Expansion, Intervened, Lines, taylor_cost, taylor_curves

if TYPE_CHECKING:
    from ...device.rollout import Rollout
    from ..population import Population
    from .options import AceOptions

__all__ = [
    "FEWEST_SAMPLES",
    "MOST_EMPIRICAL",
    "Estimate",
    "Study",
    "counted_samples",
    "planned_estimates",
    "run_estimates",
]

# what the empirical mean may take under `auto`, and samples with too few of which it is left out
MOST_EMPIRICAL = 10_000_000
FEWEST_SAMPLES = 16
STAGE_EVALUATIONS = 2**21


@dataclass(frozen=True)
class Study:
    """What is known before the network is asked.

    Attributes:
        options: of the engine.
        population: dataset and network.
        presence: what is padding.
        summary: of the data.
        design: the interventions.
        rollout: the network as a dynamical system; None without feedback.
        feedback: how far back it looks; None without feedback.
    """

    options: AceOptions
    population: Population
    presence: PaddingMask
    summary: DataSummary
    design: InterventionDesign
    rollout: Rollout | None = None
    feedback: Feedback | None = None

    @property
    def interventions(self) -> Interventions:
        """On all features that vary."""
        return self.design.interventions


@dataclass(frozen=True)
class Estimate:
    """An estimate that is computed for some features at a time.

    Attributes:
        name: of the steps that a killed run finds again.
        cost: (features,) evaluations.
        compute: the curves of each estimator.
        facts: what else there is to store.
    """

    name: str
    cost: np.ndarray
    compute: Callable[[Interventions], Mapping[str, EffectCurves]]
    facts: Mapping[str, np.ndarray]


def planned_estimates(study: Study) -> Iterator[Estimate]:
    """The estimates that the options ask for, the one that effects are made of first."""
    if study.rollout is not None:
        yield _rolled_out(study, study.rollout)
        return
    use_taylor, use_empirical = _estimators(study)
    expansion = _expansion(study) if use_taylor else None
    if use_empirical or expansion is None:
        yield _empirical(study)
    if expansion is not None:
        yield _taylor(study, expansion)


def _estimators(study: Study) -> tuple[bool, bool]:
    """Whether the Taylor and the empirical estimate are to be made."""
    asked = study.options.estimator
    if asked != "auto":
        return asked != "empirical", asked != "taylor"
    many_contexts = study.summary.contexts > MOST_CONTEXTS
    return not many_contexts, many_contexts or _samples(study) > 0


def _samples(study: Study) -> int:
    """How many samples the empirical mean is taken over."""
    return counted_samples(study.options, int(study.interventions.counts.sum()), study.summary.samples)


def counted_samples(options: AceOptions, cells: int, samples: int) -> int:
    """How many of the samples the empirical mean over `cells` features and α is taken over."""
    if options.samples is not None:
        return min(options.samples, samples)
    if options.estimator != "auto" or cells * samples <= MOST_EMPIRICAL:
        return samples
    affordable = MOST_EMPIRICAL // cells
    return affordable if affordable >= FEWEST_SAMPLES else 0


def _expansion(study: Study) -> Expansion | None:
    """The Taylor estimate's ingredients; None if `auto` must do without, for want of a second derivative."""
    population, options = study.population, study.options
    strata = _strata(study)
    setter = Intervened(study.interventions, population.scorer)
    widest = max(strata, key=lambda stratum: len(stratum.directions))
    try:
        lines = Lines(population.scorer, widest, setter, 0, study.interventions.counts[0])
        field = directional_field(population, lines)
    except ModelError as error:
        if options.estimator != "auto":
            raise
        population.warn(str(error))
        return None
    return Expansion(population, field, strata)


def _strata(study: Study) -> list[Stratum]:
    def compute() -> dict[str, np.ndarray]:
        strata = find_strata(study.population, study.presence, study.options.spread, study.summary.contexts)
        return {
            f"{i}/{name}": array for i, stratum in enumerate(strata) for name, array in stratum.arrays().items()
        }

    kept = study.population.once("strata", compute)
    parts: dict[int, dict[str, np.ndarray]] = {}
    for path, array in kept.items():
        number, _, name = path.partition("/")
        parts.setdefault(int(number), {})[name] = array
    return [Stratum.of(parts[number]) for number in sorted(parts)]


def _taylor(study: Study, expansion: Expansion) -> Estimate:
    strata = expansion.strata
    return Estimate(
        "taylor",
        taylor_cost(study.interventions, strata, expansion.field.passes),
        lambda some: {"taylor": taylor_curves(expansion, some)},
        {
            "covariance/directions": np.array([len(stratum.directions) for stratum in strata]),
            "covariance/exact": np.array([stratum.exact for stratum in strata]),
            "covariance/retained": np.array([stratum.retained for stratum in strata]),
            "covariance/samples": np.array([stratum.samples for stratum in strata]),
        },
    )


def _empirical(study: Study) -> Estimate:
    population, presence = study.population, study.presence
    counted, choice = _choice(study)
    return Estimate(
        "empirical",
        study.interventions.counts * counted,
        lambda some: {"empirical": empirical_curves(population, some, presence, choice)},
        {},
    )


def _choice(study: Study) -> tuple[int, Choice | None]:
    """How many samples the empirical mean is taken over, and which; None for all."""
    counted, samples = _samples(study) or study.summary.samples, study.summary.samples
    if counted >= samples:
        return samples, None
    if study.options.samples is None:
        study.population.warn(
            f"samples: the empirical mean is taken over about {counted} of {samples}, as many as "
            f"{MOST_EMPIRICAL:,} evaluations allow; its standard error says what that costs. Set samples for more"
        )
    return counted, study.summary.choice(counted)


def _rolled_out(study: Study, rollout: Rollout) -> Estimate:
    covariance = None if study.options.estimator == "empirical" else study.options.spread
    counted, choice = _choice(study)
    return Estimate(
        "rollout",
        rollout_cost(study.interventions, rollout, counted),
        lambda some: rollout_curves(study.population, rollout, some, covariance, choice),
        {},
    )


def run_estimates(study: Study, works: Sequence[Estimate]) -> dict[str, EffectCurves]:
    """Estimator -> curves of all features; the first one is what effects are made of."""
    population, interventions = study.population, study.interventions
    total = int(sum(work.cost.sum() for work in works))
    pieces: dict[str, list[dict[str, np.ndarray]]] = {}
    done = 0
    population.progress(done, total)
    for work in works:
        for features in _stages(work.cost):
            kept = population.once(
                f"{work.name}-{features[0]}", partial(_flat, work, interventions.take(features))
            )
            for estimator in dict.fromkeys(path.partition("/")[0] for path in kept):
                own = {n: kept[f"{estimator}/{n}"] for n in ("mean", "error", "effect_error", "samples")}
                pieces.setdefault(estimator, []).append(own)
            done += int(work.cost[features].sum())
            population.progress(done, total)
    return {name: EffectCurves.joined(pieces[name]) for name in _preferred(study, pieces)}


def _flat(work: Estimate, some: Interventions) -> dict[str, np.ndarray]:
    computed = work.compute(some).items()
    return {
        f"{estimator}/{name}": array for estimator, curves in computed for name, array in curves.arrays().items()
    }


def _stages(cost: np.ndarray) -> Iterator[list[int]]:
    """Features that are computed together, and kept: as many as take two million evaluations."""
    stage: list[int] = []
    spent = 0
    for feature, each in enumerate(cost.tolist()):
        if stage and spent + each > STAGE_EVALUATIONS:
            yield stage
            stage, spent = [], 0
        stage.append(feature)
        spent += each
    if stage:
        yield stage


def _preferred(study: Study, estimates: Mapping[str, object]) -> list[str]:
    """The empirical mean first: it has no Taylor error; alone the Taylor estimate if that was asked for."""
    if study.options.estimator == "taylor":
        return ["taylor"]
    return [name for name in ("empirical", "taylor") if name in estimates]
