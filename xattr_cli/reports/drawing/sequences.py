"""Tensors that run along steps: signals, time series and waves, however their axes lie."""

from __future__ import annotations

import numpy as np

from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from .pictures import Canvas, is_picture, is_waveform, steps_last

__all__ = ["Steps", "is_sequence"]


def is_sequence(results: Results, engine: EngineResults, tensor: str) -> bool:
    """Whether a tensor is drawn as lines: steps by features, channels by steps, or a long wave."""
    shape = engine.tensors[tensor]
    if is_picture(shape):
        return not Canvas(results, engine, tensor).is_image
    return is_waveform(results, tensor, shape)


class Steps:
    """One explained tensor that runs along steps.

    Arguments:
        results: the file.
        tensor: its name.
        engine: any engine that explains it.
    """

    def __init__(self, results: Results, tensor: str, engine: EngineResults) -> None:
        self.results = results
        self.tensor = tensor
        self.shape = engine.tensors[tensor]
        self._is_turned = steps_last(self.shape, engine.axes[tensor])
        self._source = results.inputs.get(tensor)

    @property
    def is_padded(self) -> bool:
        """Whether samples differ in their number of steps."""
        return self._source is not None and self._source.is_padded

    def upright(self, values: np.ndarray, row: int | None = None) -> np.ndarray:
        """(steps, features) of values (*shape), without the padding of a row."""
        real = None if row is None else self._real(row)
        values = values if real is None else values[real]
        return values[:, None] if values.ndim == 1 else values.T if self._is_turned else values

    def attribution(self, engine: EngineResults, row: int) -> np.ndarray:
        """(steps, features) float64 of a row's map."""
        return self.upright(np.asarray(engine.attribution([row], self.tensor)[0], np.float64), row)

    def input(self, row: int) -> np.ndarray | None:
        """(steps, features) of a row's input in original units; None if it is not stored."""
        sample = int(self.results.rows.sample[row])
        if self._source is None or sample not in self._source.stored or self._source.shape != self.shape:
            return None
        return self.upright(self.results.original(self.tensor, sample), row)

    def names(self, features: int) -> tuple[str, ...]:
        """Of the features; the only one of a wave needs none."""
        known = self._source.features if self._source is not None else ()
        if len(known) == features:
            return known
        return tuple(f"feature {k}" for k in range(features)) if features > 1 else ("",)

    def _real(self, row: int) -> np.ndarray | None:
        sample = int(self.results.rows.sample[row])
        if self._source is None or sample not in self.results.stored:
            return None
        real = self._source.real([sample])
        return None if real is None else real[0]
