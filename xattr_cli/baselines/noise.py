"""Baselines of noise: one draw per sample, keyed by the seed and the sample's position."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from pydantic import Field, model_validator

from ..datasets.base import Samples
from ..randomness import Purpose, sample_generator
from ..registry import BASELINES
from ..samples import Batch, InputSpec
from .base import Baseline, BoundBaseline, Units, explained_specs, model_units

__all__ = ["Gaussian", "Uniform"]

Draw = Callable[[np.random.Generator, InputSpec, np.ndarray], np.ndarray]


@BASELINES.register("uniform", "noise", "random")
class Uniform(Baseline):
    """Independent uniform values, one draw per sample."""

    low: float = Field(default=0.0, allow_inf_nan=False, description="least value")
    high: float = Field(default=1.0, allow_inf_nan=False, description="greatest value")
    units: Units = Field(
        default="model",
        description="model: as the network is given it; original: before the dataset scales it",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, not {self.low} and {self.high}")
        return self

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Draws of the seed."""
        return _BoundNoise(samples, seed, inputs, self._draw)

    def _draw(self, generator: np.random.Generator, spec: InputSpec, sample: np.ndarray) -> np.ndarray:
        return model_units(generator.uniform(self.low, self.high, sample.shape), spec, self.units)


@BASELINES.register("gaussian", "normal")
class Gaussian(Baseline):
    """The sample itself with Gaussian noise added, one draw per sample."""

    sigma: float = Field(gt=0, allow_inf_nan=False, description="standard deviation, as the network is given it")

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Draws of the seed."""
        return _BoundNoise(samples, seed, inputs, self._draw)

    def _draw(self, generator: np.random.Generator, spec: InputSpec, sample: np.ndarray) -> np.ndarray:
        noisy: np.ndarray = sample + self.sigma * generator.standard_normal(sample.shape)
        return noisy


class _BoundNoise(BoundBaseline):
    def __init__(self, samples: Samples, seed: int, inputs: Sequence[str] | None, draw: Draw) -> None:
        explained = {spec.name for spec in explained_specs(samples, inputs)}
        # the place among all inputs is the stream: what else is explained must not change the draw
        self._specs = [(i, spec) for i, spec in enumerate(samples.inputs) if spec.name in explained]
        self._seed = seed
        self._draw = draw

    def reference(self, batch: Batch) -> dict[str, np.ndarray]:
        drawn: dict[str, np.ndarray] = {}
        for stream, spec in self._specs:
            values = batch.inputs[spec.name]
            drawn[spec.name] = np.empty_like(values)
            for row, index in enumerate(batch.index.tolist()):
                generator = sample_generator(self._seed, index, Purpose.BASELINE, stream)
                drawn[spec.name][row] = self._draw(generator, spec, values[row])
        return drawn
