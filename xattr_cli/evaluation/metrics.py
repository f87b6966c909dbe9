"""Meters: one per metric; each scores the same block of rows for every candidate, and keeps a number per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..device import Scorer
from ..numerics.faithfulness.metrics import (
    CURVE_METRICS,
    SENSITIVITY,
    CurveMetric,
    check_subset_size,
    correlation,
    curve_steps,
    default_subset_size,
    removal_ranks,
    subset_masks,
)
from ..numerics.faithfulness.units import Units
from .inquiry import EvaluationOptions
from .outcome import Measurement
from .rows import EvaluatedBlock, Stream, sample_generators
from .scoring import Chosen, perturbed_scores, replaced_scores, target_scores

__all__ = ["Bench", "CurveMeter", "Meter", "SubsetMeter", "meters"]

MASK_BYTES = 64 * 2**20
ROUNDING = 16
"""Machine epsilons by which a network's score may be off through rounding alone."""


@dataclass
class Bench:
    """A block of rows, and what every metric needs of it.

    Attributes:
        block: inputs, targets and replacements.
        scorer: the network on its device.
        units: what is replaced as one.
        seed: of the random numbers.
        attributions: candidate -> (rows, units) float64.
        evaluations: of the network so far.
    """

    block: EvaluatedBlock
    scorer: Scorer
    units: Units
    seed: int
    attributions: dict[str, np.ndarray] = field(default_factory=dict)
    evaluations: int = 0

    @cached_property
    def control(self) -> np.ndarray:
        """(rows, units) random numbers in [0, 1): the map of the control, and what orders ties."""
        generators = sample_generators(self.seed, self.block.samples, Stream.CONTROL)
        return np.stack([generator.random(self.units.count) for generator in generators])

    @cached_property
    def score_input(self) -> np.ndarray:
        """(rows,) f(x)."""
        self.evaluations += len(self.block.rows)
        return target_scores(self.scorer, self.block.rows)

    @cached_property
    def score_replaced(self) -> np.ndarray:
        """(rows, draws) f of the input with every unit replaced."""
        self.evaluations += len(self.block.rows) * self.block.replacement.draws
        return replaced_scores(self.scorer, self.block.rows, self.block.replacement)

    @cached_property
    def _unit_of(self) -> Tensor:
        return torch.from_numpy(self.units.of).to(self.scorer.device)

    def scores(self, rows: slice, chosen: Chosen, steps: int) -> np.ndarray:
        """(rows, steps, draws) scores with the chosen units replaced, for some of the block's rows."""
        part = self.block.part(rows)
        self.evaluations += len(part.rows) * steps * part.replacement.draws
        return perturbed_scores(self.scorer, part.rows, part.replacement, self._unit_of, chosen, steps=steps)

    def on_device(self, array: np.ndarray) -> Tensor:
        """(*shape) an array on the device of the network."""
        return torch.from_numpy(array).to(self.scorer.device)


class Meter(Protocol):
    """A metric at work."""

    def take(self, bench: Bench) -> None:
        """Score a block of rows."""

    def result(self, names: Sequence[str]) -> Measurement:
        """What was found for the named candidates, over all blocks."""


def meters(inquiry: EvaluationOptions, units: int) -> list[Meter]:
    """A meter for every metric, and for every n of sensitivity-n, in the order asked for.

    Raises:
        JobError: an n that the units do not allow.
    """
    found: list[Meter] = []
    for name in dict.fromkeys(inquiry.metrics):
        if name == SENSITIVITY:
            for size in dict.fromkeys(inquiry.sizes or (default_subset_size(units),)):
                check_subset_size(size, units)
                found.append(SubsetMeter(size, inquiry.subsets))
        else:
            found.append(CurveMeter(CURVE_METRICS[name], curve_steps(units, inquiry.steps)))
    return found


@dataclass
class CurveMeter:
    """Replaces more and more units in the order of a ranking; see `numerics.faithfulness.metrics`.

    Attributes:
        metric: which.
        steps: (points,) numbers of replaced units, from 0 to all.
    """

    metric: CurveMetric
    steps: np.ndarray
    _values: list[np.ndarray] = field(default_factory=list)
    _curves: list[np.ndarray] = field(default_factory=list)

    def take(self, bench: Bench) -> None:
        curves = np.stack([self._curve(bench, one) for one in bench.attributions.values()])
        values = np.stack([self.metric.number(curve, self.steps) for curve in curves])
        self._values.append(_blanked(values, bench.attributions))
        usable = np.isfinite(self._values[-1]).all(axis=0)
        self._curves.append(curves[:, usable].sum(axis=1))

    def _curve(self, bench: Bench, attribution: np.ndarray) -> np.ndarray:
        """(rows, points); its ends are the same for every candidate, and are evaluated once."""
        ranks = bench.on_device(removal_ranks(attribution, bench.control, self.metric))
        inner = bench.on_device(self.steps[1:-1])
        between = bench.scores(slice(None), lambda row, step: ranks[row] < inner[step, None], len(inner))
        draws = bench.score_replaced.shape[1]
        first = np.repeat(bench.score_input[:, None], draws, axis=1)
        scores = np.concatenate([first[:, None], between, bench.score_replaced[:, None]], axis=1)
        return self.metric.curve(scores, bench.score_input)

    def result(self, names: Sequence[str]) -> Measurement:
        values = np.concatenate(self._values, axis=1)
        usable = np.isfinite(values).all(axis=0).sum()
        curves = np.sum(self._curves, axis=0) / max(1, usable)
        better = self.metric.higher_is_better
        return Measurement(self.metric.name, better, tuple(names), values, None, self.steps, curves)


@dataclass
class SubsetMeter:
    """Correlates sums over random subsets of one size with drops of the score.

    Attributes:
        size: units per subset.
        most: subsets per row; all there are, if there are fewer.
    """

    size: int
    most: int
    _values: list[np.ndarray] = field(default_factory=list)

    def take(self, bench: Bench) -> None:
        held = max(1, MASK_BYTES // (self.most * bench.units.count))
        rows = len(bench.block.rows)
        found = [self._group(bench, slice(start, min(start + held, rows))) for start in range(0, rows, held)]
        self._values.append(_blanked(np.concatenate(found, axis=1), bench.attributions))

    def _group(self, bench: Bench, rows: slice) -> np.ndarray:
        """(candidates, rows) correlations of some rows of the block: so many that their masks fit."""
        generators = sample_generators(bench.seed, bench.block.samples[rows], Stream.SUBSETS + self.size)
        masks = np.stack([subset_masks(bench.units.count, self.size, self.most, one) for one in generators])
        device_masks = bench.on_device(masks)
        replaced = bench.scores(rows, lambda row, step: device_masks[row, step], masks.shape[1])
        drops = bench.score_input[rows, None] - replaced.mean(axis=2)
        largest = np.maximum(np.abs(bench.score_input[rows]), np.abs(replaced).max(axis=(1, 2)))
        rounding = ROUNDING * torch.finfo(bench.scorer.dtype).eps * largest
        return np.stack(
            [
                correlation(
                    np.stack([mask @ one for mask, one in zip(masks, attribution[rows], strict=True)]),
                    drops,
                    rounding,
                )
                for attribution in bench.attributions.values()
            ]
        )

    def result(self, names: Sequence[str]) -> Measurement:
        return Measurement(SENSITIVITY, True, tuple(names), np.concatenate(self._values, axis=1), self.size)


def _blanked(values: np.ndarray, attributions: Mapping[str, np.ndarray]) -> np.ndarray:
    """(candidates, rows) with NaN where a candidate has no finite map."""
    finite = np.stack([np.isfinite(attribution).all(axis=1) for attribution in attributions.values()])
    return np.where(finite, values, np.nan)
