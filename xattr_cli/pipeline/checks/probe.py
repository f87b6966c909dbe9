"""What the first samples of a job tell about its network, before anything is explained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ...datasets import Samples, finite_rows
from ...device import Scorer, bears_shortening, find_kinks, row_activations
from ...job.config import Job
from ...models import LoadedModel, Repairs, find_repairs
from ...samples import Batch
from ..baselines import gradient_baselines
from .outputs import PROBE_SAMPLES, probe_batch
from .preflight import (
    check_class_count,
    check_class_names,
    check_gradient_path,
    check_labels,
    check_model,
    check_scores_finite,
    check_values_finite,
)
from .targets import Chosen, choose, target_names

__all__ = ["PROBE_SAMPLES", "Probe", "check_values", "probe_network"]

PROBE_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Probe:
    """What is known of a network.

    Attributes:
        targets: outputs that can be explained, and those that the job chooses.
        names: of the targets, where they are not those of the classes.
        notes: on what the outputs are.
        kinks: operations that may have kinks; decides the formula of the error bar.
        repairs: what it needs so that it can be differentiated.
        shortens: whether it scores padded samples the same without the padding at their end.
        activations: bytes that a row of a device call leaves for its backward pass.
    """

    targets: Chosen
    names: tuple[str, ...]
    notes: tuple[str, ...]
    kinks: tuple[str, ...]
    repairs: Repairs
    shortens: bool
    activations: int


def probe_network(
    job: Job, model: LoadedModel, samples: Samples, scorer: Scorer, notes: tuple[str, ...] = ()
) -> Probe:
    """Run a network on the first samples, and check data, outputs and targets there.

    Each step takes what the one before it has found: values, then repairs (without which there may be no
    gradient), then outputs, then targets and labels. Activations are measured at full length; whether calls may
    be shorter comes last.

    Arguments:
        job: what is asked for.
        model, samples: as loaded.
        scorer: the network, as it was loaded, its outputs settled.
        notes: on its outputs.

    Raises:
        JobError: the job cannot be run; the message says what to change.
    """
    batch = probe_batch(samples, min(PROBE_SAMPLES, scorer.packing.rows))
    points, context = scorer.placed(batch)
    repairs = _repairs(job, scorer, points, context)
    repaired = replace(scorer, repairs=repairs)
    scores = check_model(repaired, points, context)
    if any(engine.differentiates for engine in job.engines.values()):
        check_gradient_path(repaired, points, context, lambda: _path_starts(job, samples, repaired, batch))
    if job.dataset.bad_rows == "error":
        check_scores_finite(scores)
    kinks = find_kinks(repaired, points, context)
    targets = scores.shape[1]
    classes = samples.classes or model.outputs
    chosen = choose(job, samples, classes, scorer.view, targets)
    _check_names(job, model, samples, targets, scorer)
    return Probe(
        targets=chosen,
        names=target_names(classes, scorer.view, targets),
        notes=notes,
        kinks=kinks,
        repairs=repairs,
        activations=row_activations(repaired, points, context),
        shortens=_may_shorten(samples, repaired),
    )


def _path_starts(job: Job, samples: Samples, scorer: Scorer, batch: Batch) -> list[Tensor]:
    """Where the paths to some samples begin, for every baseline that the job names: (n, D) or (1, D)."""
    names = [spec.name for spec in scorer.layout.specs]
    starts = []
    for baseline in gradient_baselines(job.engines):
        bound = baseline.bind(samples, job.compute.seed, names)
        shared = bound.background() if bound.is_several else None
        arrays = bound.reference(batch) if shared is None else shared
        starts.append(scorer.flat(arrays)[: len(batch) if shared is None else 1])
    return starts


def _check_names(job: Job, model: LoadedModel, samples: Samples, targets: int, scorer: Scorer) -> None:
    check_class_names(samples.classes, model.outputs)
    if job.dataset.class_names and not scorer.view.places and not scorer.score.takes_any_shape:
        check_class_count(samples.classes, targets)
    if job.target.select == "label":
        check_labels(samples.known_labels(), targets, patient=job.dataset.bad_rows == "quarantine")


def _repairs(job: Job, scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> Repairs:
    """What the network needs so that it can be differentiated as often as the engines ask for."""
    rows = scorer.packing.rows if scorer.packing.fixed else len(points)
    filled, filling = scorer.fill(points, context, rows)
    order = 2 if any(engine.second_order for engine in job.engines.values()) else 1

    def call(x: Tensor) -> Tensor:
        # copies: a network that writes into its context may not spoil what the checks are made with
        return scorer.graded(x, {name: tensor.clone() for name, tensor in filling.items()})

    try:
        return find_repairs(scorer.module, call, filled, order)
    except Exception:  # whatever is wrong with the network, the checks that follow say it better
        return Repairs()


def _may_shorten(samples: Samples, scorer: Scorer) -> bool:
    """Whether the network scores padded samples the same without their padding; tried on those with the most."""
    batch = samples.plain.read(0, min(16 * PROBE_SAMPLES, len(samples)))
    if not batch.real:
        return False
    padding = np.where(finite_rows(batch), sum(map(_steps_of_padding, batch.real.values())), 0)
    most = np.argsort(-padding, kind="stable")[:PROBE_SAMPLES]
    chosen = [samples.read(row, row + 1) for row in most.tolist() if padding[row]]
    return bool(chosen) and all(bears_shortening(scorer, *scorer.placed(sample)) for sample in chosen)


def _steps_of_padding(real: np.ndarray) -> np.ndarray:
    """(n,) steps after the last real one of each sample."""
    steps: np.ndarray = np.argmax(real[:, ::-1], axis=1)
    return steps


def check_values(job: Job, samples: Samples) -> None:
    """Look for NaN in as many samples as can be read in a moment; the rest is quarantined row by row."""
    bytes_per_sample = sum(spec.size * spec.dtype.itemsize for spec in samples.plain.inputs)
    looked_at = min(len(samples), max(PROBE_SAMPLES, PROBE_BYTES // bytes_per_sample))
    if job.dataset.bad_rows == "error":
        check_values_finite(samples.plain.read(0, looked_at))
