"""The mean of the dataset as baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..datasets.base import Samples
from ..datasets.checks import finite_rows
from ..datasets.streaming import blocks
from ..errors import DataError
from ..registry import BASELINES
from ..samples import InputSpec
from .base import Baseline, BoundBaseline, FixedBaseline, explained_specs

__all__ = ["Mean"]


@BASELINES.register("mean")
class Mean(Baseline):
    """The mean over the whole dataset; samples with NaN or infinite values do not count."""

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """One pass over the dataset.

        Raises:
            DataError: no sample is finite.
        """
        return FixedBaseline(_means(samples, explained_specs(samples, inputs)))


def _means(samples: Samples, specs: Sequence[InputSpec]) -> dict[str, np.ndarray]:
    """Means in float64; a running mean, so that large values over many samples lose no digits."""
    means = {spec.name: np.zeros(spec.shape) for spec in specs}
    count = 0
    for batch in blocks(samples):
        finite = finite_rows(batch)
        new = int(finite.sum())
        if new == 0:
            continue
        count += new
        for name, mean in means.items():
            mean += (batch.inputs[name][finite] - mean).sum(axis=0) / count
    if count == 0:
        raise DataError("baseline: mean: no sample of the dataset is free of NaN and infinite values.")
    return means
