"""Maps of average causal effects: which time steps of which channel, or which pixels, matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..drawing.selection import Drawing, Nothing
from ..drawing.style import GREY, PALETTE, chart, value_map
from ..drawing.words import shorten
from .ace_study import CausalStudy

__all__ = ["draw"]

_MOST_NAMED = 24  # rows of a map whose numbers are all written


def draw(study: CausalStudy, targets: Sequence[int]) -> Iterator[Drawing | Nothing]:
    """A map per target, side by side, for inputs of two or three axes."""
    maps = [study.strength_map(target) for target in targets]
    known = [strength_map for strength_map in maps if strength_map is not None]
    if not known or study.shape is None:
        return
    if len(study.shape) > 3:
        yield Nothing(f"{study.label}: an input of shape {study.shape} is no map")
        return
    yield Drawing(f"causal-map-{study.label}", _figure(study, targets, known))


def _figure(study: CausalStudy, targets: Sequence[int], maps: Sequence[np.ndarray]) -> Figure:
    is_sequence = maps[0].ndim == 2
    across = min(2 if is_sequence else 3, len(maps))
    down = -(-len(maps) // across)
    with_lags = "sensitivity" in study.effects and np.isfinite(study.effects.values("sensitivity")).any()
    figure = chart(1.4 + (4.6 if is_sequence else 3.2) * across, 1.0 + 2.9 * down + (2.2 if with_lags else 0))
    rows = figure.add_gridspec(2 if with_lags else 1, 1, height_ratios=(2.9 * down, 2.2)[: 1 + with_lags])
    cells = rows[0].subgridspec(down, across)
    grid = [figure.add_subplot(cells[divmod(position, across)]) for position in range(down * across)]
    highest = max(float(np.nanmax(strength_map)) for strength_map in maps) or 1.0
    for axes, target, strength_map in zip(grid, targets, maps, strict=False):
        picture = (_draw_sequence if is_sequence else _draw_image)(axes, study, strength_map, highest)
        axes.set_title(f"target {study.target_name(target, 30)}", loc="left")
    for axes in grid[len(maps) :]:
        axes.set_axis_off()
    bar = figure.colorbar(picture, ax=grid, shrink=0.9, pad=0.02)
    bar.set_label(f"mean |effect| ({study.unit})")
    if with_lags:
        _draw_reach(figure.add_subplot(rows[1]), study)
    figure.suptitle(study.title("which places matter"), x=0.01, ha="left", fontweight="bold")
    return figure


def _draw_sequence(axes: Axes, study: CausalStudy, values: np.ndarray, highest: float) -> AxesImage:
    """Steps from left to right, channels from top to bottom."""
    picture = axes.imshow(values.T, cmap=value_map(), vmin=0, vmax=highest, aspect="auto", interpolation="nearest")
    steps, channels = values.shape
    axes.set(xlabel=study.axes[0], ylabel=study.axes[1])
    axes.set_xticks(range(0, steps, max(1, -(-steps // 12))))
    axes.set_yticks(range(0, channels, 1 if channels <= _MOST_NAMED else -(-channels // _MOST_NAMED)))
    names = _channel_names(study, channels)
    if names:
        axes.set_yticks(range(channels), labels=names)
    if "lag" in study.effects:
        axes.set_xlabel(f"{study.axes[0]}; predicted is the one after the last")
    return picture


def _channel_names(study: CausalStudy, channels: int) -> list[str]:
    spec = next(
        (candidate for candidate in study.results.inputs.values() if len(candidate.features) == channels), None
    )
    return [shorten(name, 16) for name in spec.features] if spec and channels <= _MOST_NAMED else []


def _draw_image(axes: Axes, study: CausalStudy, values: np.ndarray, highest: float) -> AxesImage:
    """The mean over channels."""
    studied = np.isfinite(values)
    count = studied.sum(axis=0)
    mean = np.where(count > 0, np.where(studied, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
    axes.set_axis_off()
    return axes.imshow(mean, cmap=value_map(), vmin=0, vmax=highest, interpolation="nearest")


def _draw_reach(axes: Axes, study: CausalStudy) -> None:
    """How far back the network looks, and how far interventions went."""
    norms, tau = study.effects.values("sensitivity"), int(study.effects.values("tau"))
    lags = np.arange(1, len(norms) + 1)
    axes.bar(lags, norms, 0.7, color=[PALETTE[0] if lag <= tau else "0.8" for lag in lags])
    axes.axvline(tau + 0.5, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    axes.set(xlabel="steps before the predicted one", ylabel="size of the Jacobian")
    axes.set_title(f"tau = {tau}: steps that hold 95 % of the squared Jacobian", loc="left")
