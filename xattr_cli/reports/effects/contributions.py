"""Contributions to the variance: bars of ICC or Shapley effects, beside first-order and total indices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...registry import FIGURES
from ...store.results.engines import EngineResults
from ...store.results.reader import EffectResults
from ..drawing.figure import FigureKind
from ..drawing.selection import Drawing, Nothing, Selection
from ..drawing.style import GREY, PALETTE, chart
from ..drawing.words import shorten
from .shares import ENGINES, Shares, ShareStudy, share_studies

__all__ = ["Contributions"]

_TARGETS = 4
_BARS = 25
_NAMES = {
    "topological": "topological",
    "shapley": "Shapley",
    "first_order": "first order",
    "total": "total",
}
_COLOURS = {"topological": PALETTE[0], "shapley": PALETTE[1], "first_order": PALETTE[2], "total": PALETTE[4]}


@FIGURES.register("contributions")
class Contributions(FigureKind):
    """A figure per study, for all outputs together and for those that vary most."""

    def knows(self, values: EngineResults | EffectResults) -> tuple[str, ...]:
        return ("*",) if isinstance(values, EffectResults) and values.engine in ENGINES else ()

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        studies = share_studies(selection)
        if not studies:
            yield Nothing("no engine has shared out the variance; icc and sobol do")
        for study in studies:
            partner = _partner(study, studies)
            targets = study.targets(_TARGETS)
            for target in targets:
                yield Drawing(f"contributions-{study.label}{study.stem(target)}", _draw(study, partner, target))
            left_out = len(study.effects.targets) - len([target for target in targets if target is not None])
            if left_out > 0:
                yield Nothing(
                    f"{study.label}: the {_TARGETS} outputs that vary most are drawn, {left_out} are not"
                )


def _partner(study: ShareStudy, studies: Sequence[ShareStudy]) -> ShareStudy:
    """Whose first-order and total indices stand beside: a study of independent inputs if there is one."""
    others = [
        other
        for other in studies
        if other.effects.engine == "sobol"
        and study.measure == "variance"
        and other.nodes == study.nodes
        and other.effects.target_names == study.effects.target_names
    ]
    return others[0] if study.effects.engine == "icc" and others else study


def _draw(study: ShareStudy, partner: ShareStudy, target: int | None) -> Figure:
    left = {name: study.shares(name, target) for name in ("topological", "shapley")}
    right = {name: partner.shares(name, target) for name in ("first_order", "total")}
    known = [share for share in left.values() if share is not None]
    order = np.argsort(-np.nan_to_num(known[0].value), kind="stable")[:_BARS]
    figure = chart(10.0, 1.7 + 0.42 * max(len(order), 3))
    first, second = figure.subplots(1, 2, sharex=True, sharey=True)
    _bars(first, left, order, study.measure)
    _bars(second, right, order, partner.measure)
    handles = [bars for axes in (first, second) for bars in axes.containers]
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles))  # so that it lies on no bar
    first.set_yticks(np.arange(len(order)), [shorten(study.nodes[node], 28) for node in order])
    first.set_ylim(len(order) - 0.4, -0.6)
    first.set_title(_left_title(study), loc="left")
    second.set_title(_right_title(study, partner), loc="left")
    second.tick_params(left=False)
    more = f", the largest {len(order)} of {len(study.nodes)}" if len(order) < len(study.nodes) else ""
    title = f"{study.results.path.name}: {shorten(study.label, 30)}, {study.target_name(target)}{more}"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _bars(axes: Axes, shares: dict[str, Shares | None], order: np.ndarray, measure: str) -> None:
    """A group of bars per node, each with its 95 % interval."""
    known = {name: share for name, share in shares.items() if share is not None}
    height = 0.8 / len(known)
    for position, (name, share) in enumerate(known.items()):
        y = np.arange(len(order)) + (position - (len(known) - 1) / 2) * height
        value, low, high = share.value[order], share.low[order], share.high[order]
        axes.barh(y, value, 0.9 * height, color=_COLOURS[name], label=_NAMES[name])
        axes.hlines(y, low, high, color="black", linewidth=1.6)
        axes.plot(np.stack([low, high]), np.stack([y, y]), "|", color="black", markersize=5)
    axes.axvline(0.0, color=GREY, linewidth=0.7)
    axes.set_xlabel(f"share of the {measure}, with 95 % interval")
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %".replace("-", "\N{MINUS SIGN}"))


def _left_title(study: ShareStudy) -> str:
    if study.effects.engine == "sobol":
        return "Shapley effects of independent inputs"
    if study.is_causal:
        return "intrinsic causal contributions"
    return "contributions, no causes known: inputs independent"


def _right_title(study: ShareStudy, partner: ShareStudy) -> str:
    if partner is not study:
        return f"Sobol\N{MODIFIER LETTER PRIME} indices of independent inputs ({shorten(partner.label, 20)})"
    what = "inputs" if study.effects.engine == "sobol" or not study.is_causal else "noise of each node"
    return f"Sobol\N{MODIFIER LETTER PRIME} indices of the {what}"
