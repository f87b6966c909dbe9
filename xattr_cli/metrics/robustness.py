"""Robustness: how far does a map move when the input moves a little?"""

from __future__ import annotations

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
        names = tuple(bench.again.names)
        changes = np.empty((len(names), len(bench.samples), self.draws))
        for draw in range(self.draws):
            noise = self.noise(bench, draw) * bench.real
            for place, name in enumerate(names):
                moved, still = bench.again.near(name, noise, self.stream + draw), bench.again.unchanged(name)
                changes[place, :, draw] = self.change(bench, moved, still, noise)
        return Measured(names, self.over_draws(changes))

    @property
    def stream(self) -> int:
        """Of the random numbers of the first draw."""
        return Stream.UNIFORM_NOISE

    def noise(self, bench: Bench, draw: int) -> np.ndarray:
        """(rows, D) what is added to the inputs."""
        raise NotImplementedError

    def change(self, bench: Bench, moved: np.ndarray, still: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """(rows,) how far the map is from what it was."""
        return bench.relative_change(moved, still)

    def over_draws(self, changes: np.ndarray) -> np.ndarray:
        """(candidates, rows) of changes (candidates, rows, draws)."""
        return np.asarray(changes.max(axis=2))


def _size(bench: Bench) -> int:
    return sum(spec.size for spec in bench.specs)


@METRICS.register("max_sensitivity")
class MaxSensitivity(Nearby):
    """Largest ‖a(x + ε) − a(x)‖ / ‖a(x)‖ over draws of ε, uniform between −radius and radius.

    Reference: Yeh et al. 2019, arXiv 1901.09392.
    """

    radius: float = Field(
        default=0.2, gt=0, allow_inf_nan=False, description="of the noise, in units of the input"
    )

    def noise(self, bench: Bench, draw: int) -> np.ndarray:
        """(rows, D) uniform numbers."""
        size, radius = _size(bench), self.radius
        return np.stack(
            [each.uniform(-radius, radius, size) for each in bench.generators(Stream.UNIFORM_NOISE + draw)]
        )


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
        """Of the random numbers of the first draw."""
        return Stream.NORMAL_NOISE

    def noise(self, bench: Bench, draw: int) -> np.ndarray:
        """(rows, D) normal numbers."""
        size = _size(bench)
        return np.stack(
            [self.deviation * each.standard_normal(size) for each in bench.generators(Stream.NORMAL_NOISE + draw)]
        )

    def change(self, bench: Bench, moved: np.ndarray, still: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """(rows,) the quotients."""
        moved, still = (_of_unit_size(each) if self.normalise else each for each in (moved, still))
        return np.asarray(np.linalg.norm(moved - still, axis=1) / np.linalg.norm(noise, axis=1))


def _of_unit_size(maps: np.ndarray) -> np.ndarray:
    """(rows, units) divided by the largest magnitude of each row; zero stays zero."""
    largest = np.abs(maps).max(axis=1, keepdims=True)
    return maps / np.where(largest > 0, largest, 1.0)
