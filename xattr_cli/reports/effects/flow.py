"""How well a noise model fits: its training, how normal and independent its noise is, what comes out of it."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from textwrap import wrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...registry import FIGURES
from ...store.results.effects import EffectResults
from ..drawing.figure import FigureKind
from ..drawing.selection import Drawing, Nothing, Selection
from ..drawing.style import GREY, PALETTE, SEQUENTIAL, WARNING, chart
from ..drawing.words import number, shorten
from .shares import share_studies

__all__ = ["FlowDiagnostics", "normal_quantiles"]

_LINES = 8
_BARS = 20
_MOST_WRITTEN = 12  # nodes up to which the numbers of a matrix can be read


@FIGURES.register("flow")
class FlowDiagnostics(FigureKind):
    """A page per study whose noise comes from a flow."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        studies = [study for study in share_studies(selection, ("icc",)) if "flow/curve" in study.effects]
        if not studies:
            yield Nothing("no engine has fitted a flow; icc with a graph or an order does")
        for study in studies:
            yield Drawing(f"flow-{study.label}", _draw(study.results.path.name, study.effects))


def normal_quantiles(count: int) -> np.ndarray:
    """(count,) quantiles of a standard normal at (i + ½) / count."""
    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / count) for i in range(count)])


def _draw(file: str, effects: EffectResults) -> Figure:
    warnings = [text for text in effects.warnings if text.startswith("flow")]
    lines = [line for text in warnings for line in wrap(text, 130, subsequent_indent="   ")]
    figure = chart(11.0, 7.4 + 0.17 * len(lines))
    grid = figure.subplots(2, 2)
    _draw_curve(grid[0, 0], effects)
    _draw_normality(grid[0, 1], effects)
    _draw_dependence(grid[1, 0], effects)
    _draw_wasserstein(grid[1, 1], effects)
    title = f"{file}: {shorten(effects.label, 30)}, fit of the noise model"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    if lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color=WARNING)
    return figure


def _draw_curve(axes: Axes, effects: EffectResults) -> None:
    curve = effects.values("flow/curve")
    for part, (name, color) in enumerate((("training", GREY), ("held out", PALETTE[0]))):
        axes.plot(curve[:, part], color=color, linewidth=1.6, label=name)
    gaussian = float(effects.values("flow/gaussian_log_likelihood"))
    axes.axhline(gaussian, color=PALETTE[1], linestyle="--", linewidth=1.0, label="linear Gaussian model")
    held_out = float(effects.values("flow/held_out_log_likelihood"))
    axes.set_title(
        f"log-likelihood: {number(held_out)} nats per held-out row, {number(gaussian)} Gaussian", loc="left"
    )
    axes.set(xlabel="epoch", ylabel="nats per row")
    low = min(float(np.nanpercentile(curve, 2)), gaussian)
    axes.set_ylim(bottom=low - 0.1 * (np.nanmax(curve) - low))
    axes.legend(loc="best")


def _draw_normality(axes: Axes, effects: EffectResults) -> None:
    """Quantiles of the noise less those of a normal, for the nodes that differ most."""
    noise, distance = effects.values("flow/noise"), effects.values("flow/normality")
    names = effects.texts("flow/noise_names")
    expected = normal_quantiles(len(noise))
    axes.axhline(0.0, color="black", linewidth=0.7)
    spread = 1.96 * np.sqrt(_quantile_variance(expected, len(noise)))
    axes.fill_between(expected, -spread, spread, color=GREY, alpha=0.2, linewidth=0, label="95 % if normal")
    for position, node in enumerate(np.argsort(-distance, kind="stable")[:_LINES]):
        label = f"{shorten(names[node], 20)}, Kolmogorov distance {number(float(distance[node]))}"
        difference = np.sort(noise[:, node]) - expected
        line, color = ("-", "--")[position // len(PALETTE)], PALETTE[position % len(PALETTE)]
        axes.plot(expected, difference, line, color=color, linewidth=1.3, label=label)
    axes.set_title("is the noise normal? its quantiles less the normal ones", loc="left")
    axes.set_xlabel("normal quantile")
    reach = float(np.max(np.abs(axes.get_ylim())))
    axes.set_ylim(-max(reach, 0.3), max(reach, 0.3))
    axes.legend(loc="upper center", fontsize=7)


def _quantile_variance(quantile: np.ndarray, count: int) -> np.ndarray:
    """Variance of an empirical quantile of so many normal numbers."""
    density = np.exp(-(quantile**2) / 2) / np.sqrt(2 * np.pi)
    level = (np.arange(count) + 0.5) / count
    return np.asarray(level * (1 - level) / count / density**2)


def _draw_dependence(axes: Axes, effects: EffectResults) -> None:
    matrix = effects.values("flow/dependence").copy()
    np.fill_diagonal(matrix, np.nan)
    names = [shorten(name, 14) for name in effects.texts("flow/noise_names")]
    image = axes.imshow(matrix, cmap=SEQUENTIAL, vmin=0, vmax=max(0.3, float(np.nanmax(matrix, initial=0.0))))
    if len(names) <= _MOST_WRITTEN:
        for row, column in np.ndindex(*matrix.shape):
            if row != column:
                value = float(matrix[row, column])
                shade = "white" if value < 0.6 * image.get_clim()[1] else "black"
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=shade)
    ticks = np.arange(len(names))
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if len(names) > 4 else {}
    axes.set_xticks(ticks, names, fontsize=7, **turn)
    axes.set_yticks(ticks, names, fontsize=7)
    axes.set_title("is the noise independent? distance correlation", loc="left")
    axes.figure.colorbar(image, ax=axes, shrink=0.8)


def _draw_wasserstein(axes: Axes, effects: EffectResults) -> None:
    distance = effects.values("flow/wasserstein")
    owners, nodes = effects.values("node_of_feature"), effects.texts("nodes")
    names = [nodes[owner] for owner in owners]
    order = np.argsort(-distance, kind="stable")[:_BARS]
    axes.barh(np.arange(len(order)), distance[order], 0.7, color="#a6c8e4")
    axes.set_yticks(np.arange(len(order)), [shorten(names[column], 24) for column in order])
    axes.set_ylim(max(len(order), 3) - 0.4, -0.6)
    axes.set_xlim(right=max(0.1, 1.05 * float(distance.max(initial=0.0))))
    axes.set_title("does the model give the data? Wasserstein distance", loc="left")
    axes.set_xlabel("standard deviations of the column")
