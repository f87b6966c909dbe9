"""A metric at work: it scores block after block, and keeps a number per row and candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..metrics import Bench, Measured, Metric
from .outcome import Measurement

__all__ = ["Meter"]


@dataclass
class Meter:
    """One metric, over all blocks.

    Attributes:
        metric: which, with its options.
    """

    metric: Metric
    _pieces: list[Measured] = field(default_factory=list)
    _finite: list[np.ndarray] = field(default_factory=list)
    _curves: list[np.ndarray] = field(default_factory=list)

    def take(self, bench: Bench) -> None:
        """Score a block of rows; of its curves only the sums are kept."""
        piece = self.metric.measure(bench)
        finite = _finite_maps(piece.candidates, bench.attributions)
        self._finite.append(finite)
        if piece.curves is not None:
            usable = (finite & np.isfinite(piece.values)).all(axis=0)
            self._curves.append(piece.curves[:, usable].sum(axis=1))
        self._pieces.append(Measured(piece.candidates, piece.values, piece.steps, None, piece.along, piece.kept))

    def result(self) -> Measurement:
        """What was found, over all blocks."""
        measured = self.metric.conclude(self._pieces)
        values = np.where(np.concatenate(self._finite, axis=1), measured.values, np.nan)
        usable = max(1, int(np.isfinite(values).all(axis=0).sum()))
        return Measurement(
            self.metric.registered_name,
            self.metric.higher_is_better,
            measured.candidates,
            values,
            self.metric.size,
            measured.steps,
            np.sum(self._curves, axis=0) / usable if self._curves else None,
            along=measured.along,
            options=self._options(),
            left_out=self.metric.left_out,
        )

    def _options(self) -> dict[str, object]:
        """Those that are others than by default, without the size that a title has anyway."""
        options, default = self.metric.model_dump(mode="json"), type(self.metric)().model_dump(mode="json")
        return {k: v for k, v in options.items() if v != default[k] and (k != "n" or self.metric.size is None)}


def _finite_maps(names: tuple[str, ...], attributions: Mapping[str, np.ndarray]) -> np.ndarray:
    """(candidates, rows) bool, where a candidate has a finite map."""
    return np.stack([np.isfinite(attributions[name]).all(axis=1) for name in names])
