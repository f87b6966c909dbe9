"""Robustness: how far does a map move when the input moves a little?"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
from pydantic import Field

from ..registry import METRICS
from .base import Bench, Measured, Metric, Stream

__all__ = ["AvgSensitivity", "LocalLipschitz", "MaxSensitivity", "Nearby"]


class Nearby(Metric):
    """What these metrics share: every candidate explains the same inputs with noise, which belongs to the sample.

    An engine takes its own tolerance for every map, so that noise below it shows what integration leaves open.
    """

    family = "robustness"
    higher_is_better = False
    explains_again = True

    draws: int = Field(default=10, ge=1, description="inputs with noise, per row")

    def measure(self, bench: Bench) -> Measured:
        """The number of all draws together."""
        changes = bench.once((self.draws, *self.around), lambda: self._changes(bench))
        return Measured(tuple(bench.again.names), self.over_draws(changes))

    def made_again(self, layers: int) -> Mapping[str, int]:
        """One for each draw."""
        return {repr((self.draws, *self.around)): self.draws}

    def _changes(self, bench: Bench) -> np.ndarray:
        """(candidates, rows, draws)."""
        names = tuple(bench.again.names)
        changes = np.empty((len(names), len(bench.samples), self.draws))
        size, generators = sum(spec.size for spec in bench.specs), list(bench.generators(self.stream))
        for draw in range(self.draws):
            noise = np.stack([self.noise(each, size) for each in generators]) * bench.real
            for place, name in enumerate(names):
                moved, still = bench.again.near(name, noise, self.stream + draw), bench.again.unchanged(name)
                changes[place, :, draw] = self.change(bench, moved, still, noise)
        return changes

    @property
    def stream(self) -> int:
        """Of the random numbers."""
        return Stream.UNIFORM_NOISE

    @property
    def around(self) -> tuple[object, ...]:
        """What tells changes apart: metrics for which it is the same share them."""
        return (self.model_dump_json(),)

    @abstractmethod
    def noise(self, generator: np.random.Generator, size: int) -> np.ndarray:
        """(D,) what is added to an input."""

    def change(self, bench: Bench, moved: np.ndarray, still: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """(rows,) how far the map is from what it was."""
        return bench.relative_change(moved, still)

    def over_draws(self, changes: np.ndarray) -> np.ndarray:
        """(candidates, rows) of changes (candidates, rows, draws)."""
        return np.asarray(changes.max(axis=2))


@METRICS.register("max_sensitivity")
class MaxSensitivity(Nearby):
    """Largest ‖a(x + ε) − a(x)‖ / ‖a(x)‖ over draws of ε, uniform between −radius and radius.

    Reference: Yeh et al. 2019, arXiv 1901.09392.
    """

    radius: float = Field(
        default=0.2, gt=0, allow_inf_nan=False, description="of the noise, in units of the input"
    )

    @property
    def around(self) -> tuple[object, ...]:
        """The noise."""
        return ("uniform", self.radius)

    def noise(self, generator: np.random.Generator, size: int) -> np.ndarray:
        """(D,) uniform numbers."""
        return generator.uniform(-self.radius, self.radius, size)


@METRICS.register("avg_sensitivity")
class AvgSensitivity(MaxSensitivity):
    """Mean ‖a(x + ε) − a(x)‖ / ‖a(x)‖ over draws of ε, uniform between −radius and radius.

    Reference: Yeh et al. 2019, arXiv 1901.09392.
    """

    def over_draws(self, changes: np.ndarray) -> np.ndarray:
        """(candidates, rows) means."""
        return np.asarray(changes.mean(axis=2))


@METRICS.register("local_lipschitz")
class LocalLipschitz(Nearby):
    """Largest ‖a(x + ε) − a(x)‖ / ‖ε‖ over draws of ε ~ N(0, deviation²).

    It bounds the local Lipschitz constant from below.

    Reference: Alvarez-Melis and Jaakkola 2018, arXiv 1806.08049.
    """

    deviation: float = Field(
        default=0.1, gt=0, allow_inf_nan=False, description="standard deviation of ε, in units of the input"
    )
    normalise: bool = Field(
        default=True, description="divide every map by its largest magnitude, so that maps of any scale compare"
    )

    @property
    def stream(self) -> int:
        """Of the random numbers."""
        return Stream.NORMAL_NOISE

    def noise(self, generator: np.random.Generator, size: int) -> np.ndarray:
        """(D,) normal numbers."""
        return np.asarray(self.deviation * generator.standard_normal(size))

    def change(self, bench: Bench, moved: np.ndarray, still: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """(rows,) the quotients."""
        moved, still = (_of_unit_size(each) if self.normalise else each for each in (moved, still))
        return np.asarray(np.linalg.norm(moved - still, axis=1) / np.linalg.norm(noise, axis=1))


def _of_unit_size(maps: np.ndarray) -> np.ndarray:
    """(rows, units) divided by the largest magnitude of each row; zero stays zero."""
    largest = np.abs(maps).max(axis=1, keepdims=True)
    return maps / np.where(largest > 0, largest, 1.0)
