"""Baselines that are one value, or one per feature or channel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from ..datasets.base import Samples
from ..datasets.scaling import per_feature
from ..errors import DataError, suggestion
from ..registry import BASELINES
from ..samples import InputSpec
from .base import Baseline, BoundBaseline, FixedBaseline, Units, explained_specs, model_units

__all__ = ["Constant", "Zero"]

Numbers = float | tuple[float, ...]


@BASELINES.register("zero", "zeros", "black", "none")
class Zero(Baseline):
    """Zeros, as the network is given them.

    That is the mean of standardised data, and not black where pictures are normalised.
    """

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Zeros of the inputs' shapes."""
        return FixedBaseline({spec.name: np.zeros(spec.shape) for spec in explained_specs(samples, inputs)})


@BASELINES.register("constant", "ones", "white", "grey", "gray", "value")
class Constant(Baseline):
    """One value for all, or a list with one per feature (channel, if a sample has three axes or more).

    {value: 0, units: original} is black for pictures, however they are normalised.
    """

    value: Numbers | dict[str, Numbers] = Field(description="a number, a list, or a mapping from input to these")
    units: Units = Field(
        default="model",
        description="model: as the network is given it; original: before the dataset scales it",
    )

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Spread the values over the inputs.

        Raises:
            DataError: another number of values than features; an input without a value or unknown.
        """
        specs = explained_specs(samples, inputs)
        if isinstance(self.value, dict):
            names = [spec.name for spec in samples.inputs]
            for name in self.value:
                if name not in names:
                    raise DataError(f"baseline.value: there is no input {name!r}.{suggestion(name, names)}")
        return FixedBaseline({spec.name: self._values(spec) for spec in specs})

    def _values(self, spec: InputSpec) -> np.ndarray:
        if not isinstance(self.value, dict):
            numbers, key = self.value, "baseline.value"
        elif spec.name in self.value:
            numbers, key = self.value[spec.name], f"baseline.value.{spec.name}"
        else:
            raise DataError(f"baseline.value: no value for the explained input {spec.name!r}.")
        values = model_units(per_feature(numbers, spec.shape, key), spec, self.units)
        return np.broadcast_to(values, spec.shape).copy()
