"""Sufficiency: do rows with alike maps have alike predictions?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from ..numerics.faithfulness.neighbours import share_alike
from ..registry import METRICS
from .base import Bench, Measured, Metric

__all__ = ["Sufficiency"]


@METRICS.register("sufficiency")
class Sufficiency(Metric):
    """Of the other rows whose map is near a row's own, the share that has the same predicted class.

    Near is within a share of the largest distance between two of the evaluated rows; distances are between
    magnitudes, each unit in units of its standard deviation over the rows. A row without neighbours has 0. By
    definition the number depends on which rows are evaluated together: its standard error is a rough one.

    Reference: Dasgupta, Frost and Moshkovitz 2022, arXiv 2202.00734.
    """

    family = "faithfulness"
    higher_is_better = True
    needs_classes = True

    threshold: float = Field(default=0.6, gt=0, le=1, description="share of the largest distance")

    def measure(self, bench: Bench) -> Measured:
        """Keeps the maps: the rows are compared when all are there."""
        maps = np.stack([np.abs(each) for each in bench.attributions.values()])
        kept = {"maps": maps.astype(np.float32), "predicted": bench.predicted}
        return Measured(tuple(bench.attributions), np.zeros(maps.shape[:2]), kept=kept)

    def conclude(self, pieces: Sequence[Measured]) -> Measured:
        """The shares, over all rows whose maps are finite for every candidate."""
        maps = np.concatenate([piece.kept["maps"] for piece in pieces], axis=1)
        predicted = np.concatenate([piece.kept["predicted"] for piece in pieces])
        usable = np.isfinite(maps).all(axis=(0, 2))
        values = np.full(maps.shape[:2], np.nan)
        for one, each in zip(values, maps, strict=True):
            one[usable] = share_alike(each[usable], predicted[usable], self.threshold)
        return Measured(pieces[0].candidates, values)
