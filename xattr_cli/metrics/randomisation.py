"""Randomisation: does a map notice that the network has lost its weights, or that another output is meant?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from ..numerics.faithfulness.concentration import histogram_entropy
from ..registry import METRICS
from .base import Bench, Measured, Metric, Stream

__all__ = ["Emprt", "Mprt", "RandomLogit"]


@METRICS.register("mprt")
class Mprt(Metric):
    """Model parameter randomisation test: rank correlation with the map of shuffled weights.

    The weights of more and more layers are shuffled, tensor by tensor, so that their distribution stays; the
    number is the mean over the steps, and the curve says what each leaves.

    Reference: Adebayo et al. 2018, arXiv 1810.03292.
    """

    family = "randomisation"
    higher_is_better = False
    explains_again = True
    left_out = "a map was quarantined, or one of those compared is the same everywhere"

    order: Literal["top_down", "bottom_up"] = Field(
        default="top_down", description="whether the last layers are shuffled first, or the first ones"
    )
    steps: int = Field(default=8, ge=1, description="depths, spread evenly over the layers, all of them the last")
    draws: int = Field(default=1, ge=1, description="networks with shuffled weights, whose mean is taken")
    absolute: bool = Field(default=True, description="compare magnitudes, whatever their signs")

    def made_again(self, layers: int) -> Mapping[str, int]:
        """One for each depth and draw."""
        return {self.model_dump_json(): self.draws * len(self._depths(layers))}

    def _depths(self, layers: int) -> list[int]:
        """How many layers are shuffled, step by step."""
        return sorted({-(-layers * step // self.steps) for step in range(1, self.steps + 1)})

    def measure(self, bench: Bench) -> Measured:
        """The curves, which begin with 1."""
        names, layers = tuple(bench.again.names), bench.again.layers
        depths = self._depths(len(layers))
        curves = np.zeros((len(names), len(bench.samples), 1 + len(depths)))
        curves[:, :, 0] = 1.0
        for draw in range(self.draws):
            for place, depth in enumerate(depths, start=1):
                shuffled = layers[:depth] if self.order == "top_down" else layers[-depth:]
                for number, name in enumerate(names):
                    curves[number, :, place] += self._alike(bench, name, shuffled, draw) / self.draws
        return Measured(names, curves[:, :, 1:].mean(axis=2), np.array([0, *depths]), curves, "layers shuffled")

    def _alike(self, bench: Bench, name: str, layers: Sequence[str], draw: int) -> np.ndarray:
        """(rows,) rank correlation."""
        maps = bench.again.unchanged(name), bench.again.reweighted(name, layers, draw)
        before, after = (np.abs(each) if self.absolute else each for each in maps)
        return bench.rank_correlation(after, before)


@METRICS.register("emprt")
class Emprt(Metric):
    """Efficient MPRT: by which share the complexity of the map rises when the weights of all layers are shuffled.

    Complexity is the entropy of the histogram of a map. Rows whose map has none are left out.

    Reference: Hedström et al. 2023, "Sanity Checks Revisited", arXiv 2401.06465.
    """

    family = "randomisation"
    higher_is_better = True
    explains_again = True
    left_out = "a map was quarantined, or one of those compared is the same everywhere"

    bins: int = Field(default=100, ge=2, description="of the histogram")
    draws: int = Field(default=1, ge=1, description="networks with shuffled weights, whose mean is taken")

    def made_again(self, layers: int) -> Mapping[str, int]:
        """One for each draw."""
        return {self.model_dump_json(): self.draws}

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) relative rise."""
        layers = bench.again.layers
        before = histogram_entropy(bench.again.unchanged(name), self.bins)
        after = [
            histogram_entropy(bench.again.reweighted(name, layers, draw), self.bins) for draw in range(self.draws)
        ]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(before > 0, (np.mean(after, axis=0) - before) / before, np.nan)


@METRICS.register("random_logit")
class RandomLogit(Metric):
    """Rank correlation of the map with that of another output, drawn at random for each row.

    Reference: Sixt, Granz and Landgraf 2020, arXiv 1912.09818; there by structural similarity of images.
    """

    family = "randomisation"
    higher_is_better = False
    explains_again = True
    left_out = "a map was quarantined, or one of those compared is the same everywhere"
    needs_classes = True

    absolute: bool = Field(default=False, description="compare magnitudes, whatever their signs")

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) in [−1, 1]."""
        drawn = np.array([each.integers(bench.outputs - 1) for each in bench.generators(Stream.OTHER_OUTPUT)])
        others = drawn + (drawn >= bench.targets)
        maps = bench.again.of_targets(name, others), bench.again.unchanged(name)
        after, before = (np.abs(each) if self.absolute else each for each in maps)
        return bench.rank_correlation(after, before)
