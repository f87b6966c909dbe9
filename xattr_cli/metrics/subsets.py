"""Faithfulness of subsets: what a map gives to some units, against what replacing them does to the score."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from ..errors import JobError
from ..numerics.faithfulness.metrics import (
    CURVE_METRICS,
    check_subset_size,
    correlation,
    default_subset_size,
    infidelity,
    removal_ranks,
    subset_masks,
)
from ..registry import METRICS
from .base import Bench, Measured, Metric, Setting, Stream

__all__ = ["FaithfulnessCorrelation", "FaithfulnessEstimate", "Infidelity", "SensitivityN", "Subsets"]


class Subsets(Metric):
    """What metrics of random subsets of one size share, evaluated once for all candidates."""

    family = "faithfulness"
    replaces = True

    n: int | None = Field(default=None, ge=1, description="units per subset; null for a quarter of them")
    subsets: int = Field(default=100, ge=3, description="random subsets per row; all, if there are fewer")

    @property
    def size(self) -> int | None:
        """Units per subset."""
        return self.n

    def fitted(self, setting: Setting) -> Metric:
        """With the size settled.

        Raises:
            JobError: there are too few subsets of that size.
        """
        units = setting.units.count
        size = default_subset_size(units) if self.n is None else self.n
        check_subset_size(size, units, self.registered_name)
        return self.model_copy(update={"n": size})

    def measure(self, bench: Bench) -> Measured:
        """The numbers, for so many rows at a time that their masks fit."""
        maps = self.maps(bench)
        held = [self._piece(bench, maps, rows) for rows in bench.pieces(self.subsets * bench.units.count)]
        return Measured(tuple(maps), np.concatenate(held, axis=1))

    def maps(self, bench: Bench) -> dict[str, np.ndarray]:
        """Candidate -> (rows, units), what is added up over a subset."""
        return dict(bench.attributions)

    def _piece(self, bench: Bench, maps: dict[str, np.ndarray], rows: slice) -> np.ndarray:
        """(candidates, k) of some rows."""
        size, units = self.size or 1, bench.units.count
        generators = list(bench.generators(Stream.SUBSETS + size))[rows]
        masks = np.stack([subset_masks(units, size, self.subsets, each) for each in generators])
        replaced = bench.scores_masked(masks, rows)
        score = bench.score_input[rows]
        drops = score[:, None] - replaced.mean(axis=2)
        rounding = bench.epsilon * np.maximum(np.abs(score), np.abs(replaced).max(axis=(1, 2)))
        # row by row: a product of stacks would make floats of all masks at once
        sums = (
            np.stack([mask @ row for mask, row in zip(masks, each[rows], strict=True)]) for each in maps.values()
        )
        return np.stack([self.agreement(each, drops, rounding) for each in sums])

    def agreement(self, sums: np.ndarray, drops: np.ndarray, rounding: np.ndarray) -> np.ndarray:
        """(rows,) of what the map gives to the subsets (rows, subsets), and what replacing them takes away."""
        return correlation(sums, drops, rounding)


@METRICS.register("sensitivity_n")
class SensitivityN(Subsets):
    """Correlation, over random subsets of n units, of what a map gives them with what replacing them takes away.

    Reference: Ancona et al. 2018, arXiv 1711.06104, section 4.
    """

    higher_is_better = True


@METRICS.register("faithfulness_correlation")
class FaithfulnessCorrelation(Subsets):
    """Pearson's correlation over random subsets of one size: what `sensitivity_n` is, under its other name.

    Reference: Bhatt, Weller and Moura 2020, arXiv 2005.00631.
    """

    higher_is_better = True


@METRICS.register("infidelity")
class Infidelity(Subsets):
    """Mean square of Σ_S a − (f(x) − f(x̃)) over random subsets S that are replaced, in squares of the score.

    By default of the multiple of each map that fits best, as the authors do, so that maps of any scale compare.

    Reference: Yeh et al. 2019, arXiv 1901.09392.
    """

    higher_is_better = False

    scaled: bool = Field(default=True, description="compare the best multiple of each row's map")
    multiply: bool = Field(
        default=False, description="maps are gradients: multiply them by x − x̃, what replacing takes away"
    )

    def maps(self, bench: Bench) -> dict[str, np.ndarray]:
        """As they are, or times the differences."""
        if not self.multiply:
            return dict(bench.attributions)
        away = bench.differences()
        return {name: bench.units.totals(bench.numbers(name) * away) for name in bench.attributions}

    def agreement(self, sums: np.ndarray, drops: np.ndarray, rounding: np.ndarray) -> np.ndarray:
        """(rows,) mean square."""
        return infidelity(sums, drops, scaled=self.scaled)


@METRICS.register("faithfulness_estimate")
class FaithfulnessEstimate(Metric):
    """Pearson's correlation of attributions with what replacing each unit alone takes away from the score.

    With more units than steps, units that follow each other in the ranking are replaced together.

    Reference: Alvarez-Melis and Jaakkola 2018, arXiv 1806.07538.
    """

    family = "faithfulness"
    higher_is_better = True
    replaces = True

    steps: int = Field(default=256, ge=3, description="units, or groups of as many units each, per row")

    def fitted(self, setting: Setting) -> Metric:
        """Itself.

        Raises:
            JobError: too few units for a correlation.
        """
        if setting.units.count < 3:
            raise JobError(f"{self.where}: a correlation needs 3 units, and there are {setting.units.count}.")
        return self

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) in [−1, 1]."""
        attribution = bench.attributions[name]
        together = -(-bench.units.count // self.steps)
        groups = removal_ranks(attribution, bench.control, CURVE_METRICS["deletion"]) // together
        count = -(-bench.units.count // together)
        replaced = bench.scores_alone(groups, count)
        sums = np.zeros((len(groups), count))
        np.add.at(sums, (np.arange(len(groups))[:, None], groups), attribution)
        rounding = bench.epsilon * np.maximum(np.abs(bench.score_input), np.abs(replaced).max(axis=(1, 2)))
        return correlation(sums, bench.score_input[:, None] - replaced.mean(axis=2), rounding)
