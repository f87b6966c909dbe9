"""Several baselines, each of which a map is made of; the result is their mean, with how far they are apart."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from ..datasets.base import Samples
from ..errors import DataError
from ..job.config import BaselineField
from ..registry import BASELINES
from ..samples import Batch
from .base import Baseline, BoundBaseline

__all__ = ["Several"]


@BASELINES.register("several")
class Several(Baseline):
    """The mean of the maps of several baselines, such as [{kind: token, token: mask}, {kind: token, token: pad}].

    A bare list means this. `baseline_deviation` in the result is the standard deviation of the maps between
    baselines, `baseline_scores` the score of each; the mean map sums to f(x) less the mean of these.
    """

    baselines: Annotated[tuple[BaselineField, ...], Field(min_length=2)] = Field(
        description="two or more, of any kinds"
    )
    keep: bool = Field(default=False, description="store the map of each baseline, too, as `baselines`")

    @property
    def each(self) -> tuple[Baseline, ...]:
        """The baselines one by one."""
        return self.baselines

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Bind all of them, for what they read; each is bound again where it is used.

        Raises:
            DataError: one of them does not fit.
        """
        return _BoundSeveral([one.bind(samples, seed, inputs).fingerprint for one in self.baselines])


class _BoundSeveral(BoundBaseline):
    def __init__(self, fingerprints: Sequence[str]) -> None:
        joined = "+".join(fingerprints)
        self.fingerprint = hashlib.sha256(joined.encode()).hexdigest() if any(fingerprints) else ""

    def reference(self, batch: Batch) -> dict[str, np.ndarray]:
        raise DataError("baseline: a list of baselines is for engines that explain rows; one is needed here.")
