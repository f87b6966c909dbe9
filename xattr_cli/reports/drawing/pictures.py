"""Inputs and maps as pictures: which tensors can be shown as one, and how they are painted."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from .style import GREY, PADDING, SEQUENTIAL, diverging_map
from .words import shorten

__all__ = ["Canvas", "blank", "colours_of", "is_picture", "is_vector", "is_waveform", "steps_last"]

_CRISP_UP_TO = 64  # pixels per side below which interpolation would blur
_RANGE_SAMPLES = 256
_MOST_NAMES = 12
_WAVE_FROM = 48  # values; fewer without a name are still told apart as bars


def is_vector(shape: tuple[int, ...]) -> bool:
    """One axis: the features of a table."""
    return len(shape) == 1


def is_waveform(results: Results, tensor: str, shape: tuple[int, ...]) -> bool:
    """Many values along one axis without names, such as a sound of one channel: to be drawn as a line."""
    source = results.inputs.get(tensor)
    steps = prod(shape)
    is_single = len(shape) <= 2 and max(shape, default=0) == steps >= _WAVE_FROM
    return is_single and not (source is not None and source.features)


def steps_last(shape: tuple[int, ...], axes: tuple[str, ...]) -> bool:
    """Whether a tensor of two axes is channels by steps, as convolutions take signals, not steps by features."""
    return len(shape) == 2 and (shape[0] == 1 < shape[1] or axes[:1] == ("channel",))


def is_picture(shape: tuple[int, ...]) -> bool:
    """Two axes, steps by features or height by width; or three, channels first."""
    return len(shape) in (2, 3)


class Canvas:
    """How one explained tensor is painted: its input and all of its maps alike.

    Images stand upright; sequences run from left to right with their features below each other.

    Arguments:
        results: the file.
        engine: any engine that explains the tensor.
        tensor: its name.

    Attributes:
        is_image: whether the last two axes are height and width, and not steps and features.
        is_turned: whether steps come last, after channels.
        stored: samples whose input can be shown.
        is_padded: whether some steps of some samples are padding.
    """

    def __init__(self, results: Results, engine: EngineResults, tensor: str) -> None:
        self.results = results
        self.tensor = tensor
        self.shape = engine.tensors[tensor]
        self.is_image = len(self.shape) == 3 or engine.axes[tensor] == ("height", "width")
        self.is_turned = not self.is_image and steps_last(self.shape, engine.axes[tensor])
        source = results.inputs.get(tensor)
        self.stored = frozenset(source.stored) if source and source.shape == self.shape else frozenset()
        self.is_padded = source is not None and source.is_padded and not self.is_image
        features = self.shape[-2 if self.is_turned else -1]
        self.names = source.features if source and len(source.features) == features else ()

    @property
    def aspect(self) -> float:
        """Height of the field of a picture relative to its width; upright pictures leave some of it free."""
        return float(np.clip(self.shape[-2] / self.shape[-1], 0.4, 1.0)) if self.is_image else 0.75

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """A map (*shape) as lines of pixels, channels summed."""
        flat = values.sum(axis=0) if values.ndim == 3 else values
        return flat if self.is_image or self.is_turned else flat.T

    def paint_map(self, axes: Axes, values: np.ndarray, limit: float, sample: int) -> AxesImage:
        """Draw a map (*shape), zero in the middle of the colours and ±`limit` at their ends; padding is grey."""
        image = self._paint(axes, self.pixels(values), cmap=diverging_map(), vmin=-limit, vmax=limit)
        self._shade_padding(axes, sample)
        return image

    def paint_input(self, axes: Axes, sample: int) -> None:
        """Draw a sample's input in original units; hatched if it is not stored."""
        if sample not in self.stored:
            blank(axes, "input\nnot stored")
            return
        values = self.results.original(self.tensor, sample)
        if not self.is_image:
            low, high = self._feature_ranges
            values = values.T if self.is_turned else values
            self._paint(axes, ((values - low) / (high - low)).T, cmap=SEQUENTIAL, vmin=0, vmax=1)
            self._shade_padding(axes, sample)
        else:
            self._paint(axes, colours_of(values))

    @property
    def label_width(self) -> float:
        """Inches that the labels at the left of a picture take."""
        if self.is_image:
            return 0.0
        longest = max((len(name) for name in self._shown_names), default=0)
        return 0.5 if longest == 0 else 0.15 + 0.07 * longest

    def label_axes(self, axes: Axes, *, features: bool) -> None:
        """Ticks for a sequence, steps below and features at the left; images have none."""
        axes.set(xticks=[], yticks=[])
        if self.is_image:
            return
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("step", labelpad=1, fontsize=8)
        if features and self._shown_names:
            axes.set_yticks(range(len(self._shown_names)), labels=self._shown_names, fontsize=7)
        elif features:
            axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.set_ylabel("feature", labelpad=1, fontsize=8)

    @property
    def _shown_names(self) -> list[str]:
        return [shorten(name, 14) for name in self.names] if len(self.names) <= _MOST_NAMES else []

    def _shade_padding(self, axes: Axes, sample: int) -> None:
        """Lay grey over the steps that the sample does not have."""
        if not self.is_padded or sample not in self.results.stored:
            return
        real = self.results.inputs[self.tensor].real([sample])
        if real is None or real.all():
            return
        veil = np.zeros((1, len(real[0]), 4))
        veil[0, ~real[0]] = (*to_rgb(PADDING), 1.0)
        left, right, bottom, top = (*axes.get_xlim(), *axes.get_ylim())
        axes.imshow(veil, extent=(left, right, bottom, top), interpolation="nearest", aspect="auto")

    def _paint(self, axes: Axes, pixels: np.ndarray, **colours: Any) -> AxesImage:
        axes.set_anchor("NW")
        axes.patch.set(facecolor="white", edgecolor="0.7", hatch="////")
        axes.spines[:].set(visible=True, color="0.7")
        return axes.imshow(
            np.ma.masked_invalid(pixels),
            interpolation="nearest" if max(pixels.shape[:2]) <= _CRISP_UP_TO else "antialiased",
            aspect="equal" if self.is_image else "auto",
            **colours,
        )

    @cached_property
    def _feature_ranges(self) -> tuple[np.ndarray, np.ndarray]:
        """(features,) lowest and highest original value over the stored samples; features differ in unit."""
        source = self.results.inputs[self.tensor]
        samples = source.stored[:_RANGE_SAMPLES]
        values, real = source.original(samples), source.real(samples)
        values = values.swapaxes(1, 2) if self.is_turned else values
        values = (values if real is None else values[real]).reshape(-1, values.shape[-1])
        low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
        return low, np.where(high > low, high, low + 1.0)


def blank(axes: Axes, text: str) -> None:
    """An empty hatched field that says why it is empty."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(visible=True, color="0.7")
    axes.patch.set(facecolor="white", edgecolor="0.85", hatch="////")
    box = {"facecolor": "white", "edgecolor": "none", "pad": 2.0}
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, bbox=box)


def colours_of(values: np.ndarray) -> np.ndarray:
    """(height, width, 4) colours of an image: (3, height, width) as they are, others in grey, dark at zero."""
    if values.ndim == 3 and len(values) == 3:
        return _colours(np.moveaxis(values, 0, -1))
    grey = values.mean(axis=0) if values.ndim == 3 else values
    finite = np.isfinite(grey)
    low, high = min(0.0, float(grey[finite].min(initial=0.0))), float(grey[finite].max(initial=-np.inf))
    shares = np.clip((np.where(finite, grey, low) - low) / (high - low if high > low else 1.0), 0.0, 1.0)
    return np.dstack([shares, shares, shares, finite])


def _colours(values: np.ndarray) -> np.ndarray:
    """(height, width, 4) colours from values (height, width, 3); pixels that are not numbers are transparent.

    Values in [0, 1] and in [0, 255] keep their brightness, others are stretched between their extremes.
    """
    finite = np.isfinite(values).all(axis=2)
    low, high = values[finite].min(initial=np.inf), values[finite].max(initial=-np.inf)
    slack = 1e-3
    if low < -255 * slack or high > 255 * (1 + slack) or (low < -slack and high <= 1 + slack):
        values = (values - low) / (high - low if high > low else 1.0)
    elif high > 1 + slack:
        values = values / 255
    return np.dstack([np.clip(np.where(finite[..., None], values, 0.0), 0.0, 1.0), finite])
