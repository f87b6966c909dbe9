"""The study of average causal effects, step by step: data, design, estimates, regressors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import JobError
from ..base import Effects
from ..features import FeatureSelection, wanted_features
from .data import MOST_CONTEXTS, DataSummary, PaddingMask, quantiles, summarise
from .design import InterventionDesign, design
from .effects import AXES, Found, assemble_effects, histograms
from .estimates import Study, counted_samples, planned_estimates, run_estimates
from .grids import PAIR_AXES, check_pairs, pair_effects, pair_evaluations, pair_samples
from .rollout import check_feedback, find_horizon

if TYPE_CHECKING:
    from ...samples import InputSpec
    from ..population import Population
    from .options import AceOptions

__all__ = ["check", "expected_evaluations", "study"]

CHECKED_BYTES = 32 * 2**20
MOST_NAMES = 10_000
NOTABLE = 0.1
VALUES_PER_CURVE = 12  # that are held of a feature, α and target, all results together


def check(options: AceOptions, population: Population) -> None:
    """Refuse what cannot be studied; small data are looked at as a whole.

    Raises:
        JobError: names the option.
    """
    if population.samples < 2:
        raise JobError(
            f"estimator: {options.estimator}: average causal effects average over the data, but there is a single "
            "sample. Give at least two (dataset.limit)."
        )
    wanted = _wanted(options, population)
    check_pairs(options, [feature.name for feature in wanted], population.names)
    presence = PaddingMask(population.scorer, options.lengths)
    if options.feedback == "autoregressive":
        check_feedback(population, options.window)
    _check_memory(options, population, len(wanted))
    if population.samples * population.layout.size * 4 <= CHECKED_BYTES:
        summary = summarise(population, presence)
        _check_contexts(options, summary)
        # with feedback only the last steps are studied, and how many of them is not known yet
        if options.feedback == "none" or options.features:
            _design(options, population, presence, summary, wanted, lambda text: None)


def _wanted(options: AceOptions, population: Population) -> list[FeatureSelection]:
    return wanted_features(population.names, options.features, options.groups)


def _check_contexts(options: AceOptions, summary: DataSummary) -> None:
    if options.estimator in ("taylor", "both") and summary.contexts > MOST_CONTEXTS:
        raise JobError(
            f"estimator: {options.estimator}: the Taylor estimate is taken within each distinct context (such as "
            f"a length), and there are more than {MOST_CONTEXTS}. Use estimator: empirical."
        )


def _check_memory(options: AceOptions, population: Population, features: int) -> None:
    needed = 8 * VALUES_PER_CURVE * features * options.alphas * len(population.targets)
    if needed > population.memory_bytes:
        raise JobError(
            f"alphas: {options.alphas} for {features} features and {len(population.targets)} targets take "
            f"{needed / 2**30:.1f} GiB. Lower alphas, choose features, or targets (target: {{index: [..]}}), "
            "or raise compute.memory."
        )


def _design(
    options: AceOptions,
    population: Population,
    presence: PaddingMask,
    summary: DataSummary,
    selected: Sequence[FeatureSelection],
    warn: Callable[[str], None],
) -> InterventionDesign:
    bounds = summary.lowest, summary.highest
    if options.quantiles is not None:
        shares = options.quantiles
        bounds = quantiles(population, presence, summary, shares)
    return design(options, selected, population.names, summary, bounds=bounds, warn=warn)


def expected_evaluations(options: AceOptions, population: Population) -> int:
    """About how many evaluations the study will take; levels count as full grids."""
    cells = len(_wanted(options, population)) * options.alphas
    pairs = pair_evaluations(options, pair_samples(options, population.samples))
    empirical = pairs + cells * counted_samples(options, cells, population.samples)
    directions = min(population.layout.size, population.samples - 1, 64)
    taylor = cells * (1 + 4 * directions)
    if options.estimator == "auto":
        return taylor + empirical
    return (options.estimator != "empirical") * taylor + (options.estimator != "taylor") * empirical


# --- the steps ------------------------------------------------------------------------------------


def study(options: AceOptions, population: Population) -> Effects:
    """Everything that the engine says about a dataset."""
    prepared = _prepare(options, population)
    works = list(planned_estimates(prepared))
    curves = run_estimates(prepared, works)
    interventions = prepared.interventions
    found = Found(interventions, curves)
    values = assemble_effects(found, population.names, order=options.fixed_order, most=options.max_order)
    seen = population.once("histograms", lambda: histograms(population, interventions, prepared.presence))
    values |= {**seen, **_layout(prepared), **_feedback(prepared)}
    for work in works:
        values |= work.facts
    if prepared.design.constant:
        values["constant"] = prepared.design.constant
    _remark(prepared, values)
    evaluations = int(sum(work.cost.sum() for work in works))
    if options.pairs:
        choice = prepared.summary.choice(pair_samples(options, prepared.summary.samples))
        pairs, cost = pair_effects(options, population, interventions, prepared.presence, choice)
        values |= pairs
        evaluations += cost
    axes = {**AXES, **PAIR_AXES}
    return Effects(values, evaluations, axes={name: labels for name, labels in axes.items() if name in values})


def _prepare(options: AceOptions, population: Population) -> Study:
    presence = PaddingMask(population.scorer, options.lengths)
    summary = DataSummary.of(population.once("data", lambda: summarise(population, presence).arrays()))
    wanted = _wanted(options, population)
    rollout = feedback = None
    if options.feedback == "autoregressive":
        rollout = check_feedback(population, options.window)
        feedback = find_horizon(population, rollout, options.fixed_tau)
        if not options.features and not options.groups:
            first = (rollout.steps - feedback.tau) * rollout.channels
            wanted = [feature for feature in wanted if feature.members[0] >= first]
    plan = _design(options, population, presence, summary, wanted, population.warn)
    return Study(options, population, presence, summary, plan, rollout, feedback)


# --- facts ----------------------------------------------------------------------------------------


def _layout(study: Study) -> dict[str, np.ndarray | tuple[str, ...]]:
    """What a sample is made of, and in which units: for those who have neither the dataset nor the network."""
    specs, names = study.population.specs, study.population.names
    values: dict[str, np.ndarray | tuple[str, ...]] = {
        "layout/inputs": tuple(f"{spec.name}={'x'.join(map(str, spec.shape))}" for spec in specs),
        "units/offset": np.concatenate([_spread(spec, spec.offset, 0.0) for spec in specs]),
        "units/scale": np.concatenate([_spread(spec, spec.scale, 1.0) for spec in specs]),
    }
    if len(names) <= MOST_NAMES:
        values["layout/names"] = names
    if len(specs) == 1 and len(specs[0].axes) == len(specs[0].shape) > 1:
        values["layout/axes"] = specs[0].axes
    if study.summary.present.min() < study.summary.samples:
        values["layout/lengths"] = (study.options.lengths or "lengths",)
    return values


def _spread(spec: InputSpec, values: np.ndarray | None, otherwise: float) -> np.ndarray:
    """(size,) offset or scale of every coordinate."""
    return np.broadcast_to(otherwise if values is None else values, spec.shape).reshape(-1).astype(np.float64)


def _feedback(study: Study) -> dict[str, np.ndarray | tuple[str, ...]]:
    if study.rollout is None or study.feedback is None:
        return {}
    first = [int(study.interventions.one(k).members[0]) for k in range(len(study.interventions))]
    step = np.array(first) // study.rollout.channels
    return {
        "tau": np.array(study.feedback.tau),
        "sensitivity": study.feedback.sensitivity,
        "lag": study.rollout.steps - step,
    }


def _remark(study: Study, values: Mapping[str, np.ndarray | tuple[str, ...]]) -> None:
    """Say how far the two estimates are apart, if they are."""
    if "distance" not in values:
        return
    distance, ace = np.asarray(values["distance"]), np.asarray(values["ace"])
    scale = float(np.sqrt(np.nanmean(np.square(ace), axis=1)).max())
    feature, target = np.unravel_index(int(distance.argmax()), distance.shape)
    share = float(distance[feature, target]) / scale if scale > 0 else 0.0
    if share > NOTABLE:
        study.population.warn(
            f"the Taylor estimate is off by up to {_times(share)} the largest effect (r.m.s. over alpha: "
            f"{study.interventions.names[feature]!r} on {study.population.target_names[target]!r}); the effects "
            "are made of the empirical mean, which has no such error"
        )


def _times(share: float) -> str:
    return f"{share:.0%} of" if share < 2 else f"{share:.0f} times"
