"""The mean of the dataset as baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from ..datasets.base import Samples
from ..datasets.opening import blocks, finite_rows
from ..errors import DataError
from ..registry import BASELINES
from ..samples import Batch, InputSpec
from .base import Baseline, BoundBaseline, FixedBaseline, explained_specs

__all__ = ["Mean"]


@BASELINES.register("mean", "average")
class Mean(Baseline):
    """The mean over the whole dataset; padding, and samples with NaN or infinite values, do not count."""

    pool_steps: bool = Field(
        default=False,
        description="one mean over all steps of all sequences (such as the mean embedding), not one per step",
    )

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """One pass over the dataset.

        Raises:
            DataError: no sample is finite, or there are no steps to pool.
        """
        specs = explained_specs(samples, inputs)
        for spec in specs:
            if self.pool_steps and (len(spec.shape) < 2 or spec.axes[:1] not in (("step",), ("token",))):
                raise DataError(
                    f"baseline.pool_steps: {spec.name!r} has the shape {spec.shape} with the axes {spec.axes}: "
                    "no sequence of steps or tokens."
                )
        return FixedBaseline(_means(samples, specs, pools=self.pool_steps))


def _means(samples: Samples, specs: Sequence[InputSpec], *, pools: bool) -> dict[str, np.ndarray]:
    """Means in float64; running means, so that large values over many samples lose no digits."""
    means = {spec.name: _RunningMean(spec, pools) for spec in specs}
    count = 0
    for batch in blocks(samples):
        finite = np.flatnonzero(finite_rows(batch))
        count += len(finite)
        for mean in means.values():
            mean.add(batch.take(finite))
    if count == 0:
        raise DataError("baseline: mean: no sample of the dataset is free of NaN and infinite values.")
    return {name: mean.value for name, mean in means.items()}


class _RunningMean:
    """The mean of one input over all batches that were added, for every step of a sequence on its own."""

    def __init__(self, spec: InputSpec, pools: bool) -> None:
        self._spec = spec
        self._across = (0, 1) if pools else (0,)
        self._mean = np.zeros(spec.shape[1:] if pools else spec.shape)
        self._count = np.zeros((1,) * self._mean.ndim)

    def add(self, batch: Batch) -> None:
        values = batch.inputs[self._spec.name].astype(np.float64)
        real = batch.real.get(
            self._spec.sequence, np.ones(values.shape[: 2 if values.ndim > 1 else 1], dtype=bool)
        )
        counted = real.reshape(*real.shape, *[1] * (values.ndim - real.ndim))
        self._count = self._count + counted.sum(axis=self._across)
        difference = np.where(counted, values - self._mean, 0.0).sum(axis=self._across)
        self._mean += difference / np.maximum(self._count, 1)

    @property
    def value(self) -> np.ndarray:
        """(*shape,); 0 at steps that no sample has."""
        return np.broadcast_to(self._mean, self._spec.shape).copy()
