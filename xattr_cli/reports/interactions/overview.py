"""Interactions over many rows: the matrix of their strengths, and the strongest pairs with error bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ...store.results.engines import EngineResults
from ...store.results.interactions import InteractionResults
from ...store.results.reader import Results
from ..drawing.selection import Drawing, Nothing
from ..drawing.style import GREY, LOWERS, RAISES, chart
from ..drawing.words import number, of_target, score_unit, shorten
from .pairs import PairStrengths, brief, pair_strengths

__all__ = ["draw", "name_axes"]

_TOP = 15
_MOST_TARGETS = 6
_MOST_NAMES = 40
_NAME_WIDTH = 22


def draw(results: Results, engine: EngineResults, interactions: InteractionResults) -> Iterator[Drawing | Nothing]:
    """A figure per target, of engines whose rows have the same groups."""
    if not interactions.is_square or interactions.chosen_per_row or engine.options.get("groups") == "tokens":
        yield Nothing(f"{engine.label}: its rows look at different groups, or at one; no summary over rows")
        return
    counts = Counter(results.rows.target.tolist())
    targets = sorted(target for target, _ in counts.most_common(_MOST_TARGETS))
    strengths = pair_strengths(results, engine, targets)
    for strength in strengths:
        name = results.target_name(strength.target)
        target = name if name == str(strength.target) else f"{strength.target}-{shorten(name, _NAME_WIDTH)}"
        stem = f"interactions-{engine.label}"
        figure = _figure(results, engine, interactions.groups, strength)
        yield Drawing(f"{stem}-{target}" if len(counts) > 1 else stem, figure)
    if len(counts) > _MOST_TARGETS:
        yield Nothing(f"{engine.label}: the {_MOST_TARGETS} most frequent of {len(counts)} targets are drawn")
    if not strengths:
        yield Nothing(f"{engine.label}: all rows are quarantined")


def name_axes(axes: Axes, rows: Sequence[str], columns: Sequence[str], fontsize: float = 7.5) -> None:
    """Names along both axes of a matrix, or none where there are too many to be read."""
    for axis, names in ((axes.xaxis, columns), (axes.yaxis, rows)):
        if len(names) <= _MOST_NAMES:
            axis.set_ticks(range(len(names)), labels=[brief(name, _NAME_WIDTH) for name in names])
        else:
            axis.set_ticks([])
    axes.tick_params(length=0, labelsize=fontsize)
    axes.tick_params(axis="x", labelrotation=90)


def _figure(results: Results, engine: EngineResults, names: Sequence[str], strengths: PairStrengths) -> Figure:
    pairs = min(_TOP, len(strengths.pairs))
    side = float(np.clip(0.2 * len(names), 3.0, 6.0))
    figure = chart(side + 6.6, max(side, 0.28 * pairs + 0.6) + 1.4)
    left, right = figure.subplots(1, 2, width_ratios=(side, 5.0))
    _draw_matrix(left, names, strengths, score_unit(results))
    _draw_pairs(right, names, strengths, score_unit(results))
    shown = of_target(results, shorten(engine.label, 30), strengths.target, strengths.rows)
    figure.suptitle(f"{results.path.name}: {shown}", x=0.01, ha="left", fontweight="bold")
    return figure


def _draw_matrix(axes: Axes, names: Sequence[str], strengths: PairStrengths, unit: str) -> None:
    """Mean |Γ|; the colours end at the strongest pair, the diagonal may be beyond."""
    off_diagonal = strengths.matrix[~np.eye(len(names), dtype=bool)]
    limit = float(off_diagonal.max(initial=0.0)) or float(strengths.matrix.max(initial=0.0)) or 1.0
    image = axes.imshow(strengths.matrix, cmap="Greys", vmin=0.0, vmax=limit, interpolation="nearest")
    axes.set_anchor("N")
    name_axes(axes, names, names)
    axes.spines[:].set(visible=True, color="0.7")
    box = axes.inset_axes((1.03, 0.0, 0.04, 1.0))
    axes.figure.colorbar(image, cax=box, ticks=[0.0, limit], extend="max")
    box.set_yticklabels(["0", number(limit)], fontsize=7)
    axes.set_title(f"mean |Γᵢⱼ| ({unit}); on the diagonal, what each does alone", loc="left")


def _draw_pairs(axes: Axes, names: Sequence[str], strengths: PairStrengths, unit: str) -> None:
    shown = slice(0, _TOP)
    pairs, mean = strengths.pairs[shown], strengths.mean[shown]
    places = np.arange(len(pairs))
    colours = np.where(strengths.signed[shown] < 0, LOWERS, RAISES)
    axes.barh(places, mean, height=0.62, color=colours)
    axes.errorbar(
        mean, places, xerr=strengths.interval[shown], fmt="none", ecolor="black", elinewidth=1.6, capsize=2.5
    )
    labels = [f"{brief(names[i], _NAME_WIDTH)} × {brief(names[j], _NAME_WIDTH)}" for i, j in pairs]
    axes.set_yticks(places, labels=labels)
    axes.set_ylim(max(len(pairs), 3) - 0.4, -0.6)
    axes.set_xlim(left=0)
    others = len(strengths.pairs) - len(pairs)
    axes.set_xlabel(f"mean |Γᵢⱼ + Γⱼᵢ| ({unit}){f'; {others} more pairs' if others else ''}")
    axes.tick_params(axis="y", length=0)
    handles = [
        Patch(color=RAISES, label="together they raise the score on average"),
        Patch(color=LOWERS, label="together they lower it"),
        Line2D([], [], color="black", linewidth=1.6, label="95 % interval of the mean, matrix errors included"),
    ]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2, fontsize=8)
    axes.axvline(0.0, color=GREY, linewidth=0.7)
