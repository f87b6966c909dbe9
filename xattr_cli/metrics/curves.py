"""Faithfulness along a ranking: units are replaced one after the other, and the score is watched."""

from __future__ import annotations

from math import prod
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ..errors import JobError
from ..numerics.faithfulness.metrics import CURVE_METRICS, CurveMetric, curve_steps, removal_ranks
from ..registry import METRICS
from .base import Bench, Measured, Metric, Setting

__all__ = ["Deletion", "Insertion", "Irof", "Pgi", "Pgu", "Ranked", "Road"]

DELETION = CURVE_METRICS["deletion"]


class Ranked(Metric):
    """Follows the score while units are replaced in the order of a map; see `numerics.faithfulness.metrics`."""

    family = "faithfulness"
    replaces = True
    rule: ClassVar[CurveMetric]

    steps: int = Field(default=32, ge=1, description="points of the curve; with fewer units, one per unit")

    def measure(self, bench: Bench) -> Measured:
        """The curves, whose ends are the same for every candidate and are evaluated once."""
        steps = curve_steps(bench.units.count, self.steps)
        curves = np.stack([self._curve(bench, each, steps) for each in bench.attributions.values()])
        values = np.stack([self.rule.number(curve, steps) for curve in curves])
        return Measured(tuple(bench.attributions), values, steps, curves)

    def _curve(self, bench: Bench, attribution: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """(rows, points)."""
        between = bench.scores_below(removal_ranks(attribution, bench.control, self.rule), steps[1:-1])
        last = bench.score_replaced
        first = np.repeat(bench.score_input[:, None], last.shape[1], axis=1)
        scores = np.concatenate([first[:, None], between, last[:, None]], axis=1)
        return self.rule.curve(scores, bench.score_input)


@METRICS.register("pgu")
class Pgu(Ranked):
    """Prediction gap on unimportant units: mean |f(x) − f(x_k)| as the smallest |attributions| are replaced first.

    Reference: Agarwal et al. 2022, arXiv 2206.11104.
    """

    rule = CURVE_METRICS["pgu"]
    higher_is_better = False


@METRICS.register("pgi")
class Pgi(Ranked):
    """Prediction gap on important units: mean |f(x) − f(x_k)| as the largest |attributions| are replaced first.

    Reference: Agarwal et al. 2022, arXiv 2206.11104.
    """

    rule = CURVE_METRICS["pgi"]
    higher_is_better = True


@METRICS.register("deletion")
class Deletion(Ranked):
    """Area under the score as the units of the highest attribution are replaced first.

    Reference: Petsiuk et al. 2018, arXiv 1806.07421.
    """

    rule = DELETION
    higher_is_better = False


@METRICS.register("insertion")
class Insertion(Ranked):
    """Area under the score as the units of the highest attribution come back first.

    Reference: Petsiuk et al. 2018, arXiv 1806.07421.
    """

    rule = CURVE_METRICS["insertion"]
    higher_is_better = True


@METRICS.register("irof")
class Irof(Metric):
    """Iterative removal of features: superpixels go in the order of their mean attribution.

    The number is the area over f(x_k) / f(x), k of K segments replaced, as a share of K: 0 if nothing reacts, near
    1 if the score is gone at once. It asks for a score above zero, such as a probability; other rows are left out.
    Where inputs are no images every unit is a segment.

    Reference: Rieger and Hansen 2020, arXiv 2003.08747.
    """

    family = "faithfulness"
    higher_is_better = True
    replaces = True
    left_out = "a map was quarantined, or the score of the input is not above 0 (--set score=probability is)"

    segments: int = Field(default=100, ge=2, description="superpixels of an image, at most")

    def measure(self, bench: Bench) -> Measured:
        """The areas over the curves; a row with fewer segments stays at its end."""
        segments = bench.segments(self.segments)
        counts = np.arange(1, int(segments.max()) + 2)
        curves = np.stack([self._curve(bench, each, segments, counts) for each in bench.attributions.values()])
        own = segments.max(axis=1) + 1
        width = np.arange(len(counts)) < own[:, None]
        values = (((1 - curves[..., :-1]) + (1 - curves[..., 1:])) / 2 * width).sum(axis=2) / own
        return Measured(tuple(bench.attributions), values, np.array([0, *counts]), curves)

    def _curve(
        self, bench: Bench, attribution: np.ndarray, segments: np.ndarray, counts: np.ndarray
    ) -> np.ndarray:
        """(rows, 1 + points) share of the score that is left, from 1 on."""
        rows, most = np.arange(len(segments))[:, None], len(counts)
        means = _segment_means(attribution, segments, most)
        first = removal_ranks(means, _segment_means(bench.control, segments, most), DELETION)
        scores = bench.scores_below(first[rows, segments], counts).mean(axis=2)
        score = bench.score_input[:, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(score > 0, scores / score, np.nan)
        return np.concatenate([np.ones_like(score), share], axis=1)


def _segment_means(values: np.ndarray, segments: np.ndarray, most: int) -> np.ndarray:
    """(rows, most) mean over each segment of values (rows, units); the lowest of all where there is none."""
    rows = np.arange(len(values))[:, None]
    sums, sizes = np.zeros((2, len(values), most))
    np.add.at(sums, (rows, segments), values)
    np.add.at(sizes, (rows, segments), 1)
    return np.where(sizes > 0, sums / np.maximum(sizes, 1), -np.inf)


@METRICS.register("road")
class Road(Metric):
    """Remove and debias: pixels of the highest attribution are imputed by their neighbours, and a little noise.

    The number is the mean over the percentages of whether the network still predicts the row's target. An imputed
    pixel is the weighted mean of its eight neighbours, 1/6 beside and 1/12 across it, which are imputed together,
    so that the mask itself tells the network nothing. For images alone.

    Reference: Rong et al. 2022, arXiv 2202.00449.
    """

    family = "faithfulness"
    higher_is_better = False

    percentages: tuple[float, ...] = Field(
        default=(10, 20, 30, 40, 50, 60, 70, 80, 90), min_length=1, description="of the pixels that are imputed"
    )
    noise: float = Field(default=0.01, ge=0, description="standard deviation of what is added to imputed pixels")
    watch: Literal["prediction", "score"] = Field(
        default="prediction", description="whether the class is still predicted, or the score itself"
    )

    def fitted(self, setting: Setting) -> Metric:
        """Itself.

        Raises:
            JobError: no image, or no classes; a percentage that is none.
        """
        super().fitted(setting)
        spec = setting.specs[0]
        is_image = len(setting.specs) == 1 and spec.axes[-2:] == ("height", "width")
        if not is_image or setting.units.count != prod(spec.shape[-2:]):
            raise JobError(
                f"{self.where}: imputes pixels by their neighbours, so it takes one image whose unit is the pixel "
                "(axes channel, height, width; --unit pixel); deletion and irof do without."
            )
        wrong = next((each for each in self.percentages if not 0 <= each < 100), None)
        if wrong is not None:
            raise JobError(f"{self.where}: percentages: {wrong:g}: must be from 0 to below 100.")
        if self.watch == "prediction" and setting.outputs < 2:
            raise JobError(f"{self.where}: the network has a single output: use {{kind: road, watch: score}}.")
        return self

    def measure(self, bench: Bench) -> Measured:
        """The curves over the percentages."""
        counts = (bench.units.count * np.array(self.percentages) / 100).astype(np.int64)
        curves = np.stack([self._curve(bench, each, counts) for each in bench.attributions.values()])
        return Measured(
            tuple(bench.attributions), curves.mean(axis=2), np.array(self.percentages), curves, "percent imputed"
        )

    def _curve(self, bench: Bench, attribution: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """(rows, percentages)."""
        ranks = removal_ranks(attribution, bench.control, DELETION)
        if self.watch == "score":
            return bench.imputed_scores(ranks, counts, self.noise)
        predicted = bench.imputed_predictions(ranks, counts, self.noise)
        return np.asarray((predicted == bench.targets[:, None]).astype(float))
