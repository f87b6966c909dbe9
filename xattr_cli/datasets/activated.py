"""A dataset seen through a network: every sample with the tensors inside the network that are explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..samples import Batch, InputSpec
from .base import Samples, WrappedSamples

__all__ = ["ActivatedSamples"]

Activate = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]


class ActivatedSamples(WrappedSamples):
    """The samples of a dataset, with further tensors beside their inputs.

    Arguments:
        samples: the dataset.
        specs: of the further tensors.
        activate: inputs {name: (n, *shape)} -> further tensors {name: (n, *shape)}.
    """

    def __init__(self, samples: Samples, specs: Sequence[InputSpec], activate: Activate) -> None:
        super().__init__(samples)
        self._specs = tuple(specs)
        self._activate = activate
        self.inputs = (*samples.inputs, *specs)

    @property
    def plain(self) -> Samples:
        return self._samples

    def read(self, start: int, stop: int) -> Batch:
        batch = self._samples.read(start, stop)
        return replace(batch, inputs=self.propagate(batch.inputs))

    def propagate(self, inputs: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        given = {spec.name: inputs[spec.name] for spec in self._samples.inputs}
        return {**given, **self._activate(given)}

    def alike(self, other: Samples) -> Samples:
        return ActivatedSamples(other, self._specs, self._activate)
