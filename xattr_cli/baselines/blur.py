"""The sample itself, blurred, as baseline."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from pydantic import Field

from ..datasets.base import Samples
from ..errors import DataError
from ..registry import BASELINES
from ..samples import Batch, InputSpec
from .base import Baseline, BoundBaseline, explained_specs

__all__ = ["Blur"]

_CUT_AT = 4.0  # standard deviations; what lies beyond weighs 6e-5


@BASELINES.register("blur", "blurred", "gaussian_blur")
class Blur(Baseline):
    """The sample after a Gaussian blur over its last two axes; what lies outside is mirrored in."""

    sigma: float = Field(gt=0, allow_inf_nan=False, description="standard deviation in pixels")

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Set up the blur.

        Raises:
            DataError: a sample has fewer than two axes.
        """
        specs = explained_specs(samples, inputs)
        for spec in specs:
            if len(spec.shape) < 2:
                raise DataError(
                    f"baseline: blur needs samples of two axes or more; input {spec.name!r} "
                    f"has shape {spec.shape}."
                )
        return _BoundBlur(specs, self.sigma)


class _BoundBlur(BoundBaseline):
    def __init__(self, specs: Sequence[InputSpec], sigma: float) -> None:
        self._across = {spec.name: tuple(_blur_matrix(n, sigma) for n in spec.shape[-2:]) for spec in specs}

    def reference(self, batch: Batch) -> dict[str, np.ndarray]:
        blurred: dict[str, np.ndarray] = {}
        for name, (rows, columns) in self._across.items():
            values = batch.inputs[name]
            with np.errstate(invalid="ignore"):  # an infinite sample is somebody else's to report
                blurred[name] = (rows @ values.astype(np.float64) @ columns.T).astype(values.dtype)
        return blurred


def _blur_matrix(length: int, sigma: float) -> np.ndarray:
    """(length, length): a Gaussian filter with mirrored borders as a linear map of one axis."""
    radius = max(1, ceil(_CUT_AT * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    mirrored = np.pad(np.arange(length), radius, mode="symmetric")
    matrix = np.zeros((length, length))
    for row in range(length):
        np.add.at(matrix[row], mirrored[row : row + 2 * radius + 1], weights)
    return matrix
