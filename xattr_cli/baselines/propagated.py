"""A baseline of the network's inputs, carried on to the tensor inside it that is explained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from ..datasets.base import Samples
from ..errors import DataError
from ..job.config import BaselineField
from ..registry import BASELINES
from ..samples import Batch, InputSpec
from .base import Baseline, BoundBaseline, explained_specs

__all__ = ["Propagated", "inside"]


@BASELINES.register("propagated")
class Propagated(Baseline):
    """What the explained layer makes of a baseline of the inputs, such as a black or a blurred picture.

    For explain: {layer: name}; without it, the other kinds describe values of the layer itself.
    """

    baseline: BaselineField = Field(description="of the network's floating inputs")

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Bind the baseline to the inputs that no tensor inside the network is.

        Raises:
            DataError: no tensor inside the network is explained, or the network has no floating input.
        """
        explained = inside(samples, inputs, "propagated")
        floating = [spec.name for spec in samples.plain.inputs if spec.dtype.kind == "f"]
        if not floating:
            raise DataError(
                "baseline: propagated: the network has no floating input; use {kind: token, token: pad} for texts."
            )
        return _BoundPropagated(self.baseline.bind(samples, seed, floating), samples, explained)


class _BoundPropagated(BoundBaseline):
    def __init__(self, inner: BoundBaseline, samples: Samples, explained: Sequence[InputSpec]) -> None:
        self._inner = inner
        self._samples = samples
        self._names = [spec.name for spec in explained]
        self.fingerprint = inner.fingerprint

    def reference(self, batch: Batch) -> dict[str, np.ndarray]:
        propagated = self._samples.propagate({**batch.inputs, **self._inner.reference(batch)})
        return {name: propagated[name] for name in self._names}


def inside(samples: Samples, inputs: Sequence[str] | None, kind: str) -> tuple[InputSpec, ...]:
    """The explained tensors, all of which must lie inside the network.

    Raises:
        DataError: an input itself is explained.
    """
    specs = explained_specs(samples, inputs)
    plain = {spec.name for spec in samples.plain.inputs}
    for spec in specs:
        if spec.name in plain:
            raise DataError(
                f"baseline: {kind} is for tensors inside the network, but the input {spec.name!r} itself is "
                "explained. Set explain: {embedding: auto} or {layer: name}, or choose another baseline."
            )
    return specs
