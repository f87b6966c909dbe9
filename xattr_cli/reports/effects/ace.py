"""Average causal effects: curves over what a feature is set to, ranking, maps, and the error of Taylor's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ...registry import FIGURES
from ...store.results.engines import EngineResults
from ...store.results.reader import EffectResults
from ..drawing.figure import FigureKind
from ..drawing.selection import Drawing, Nothing, Selection
from ..drawing.style import GREY, PALETTE, chart, panels
from ..drawing.words import ALPHA, shorten
from . import ace_maps as causal_maps
from . import ace_pairs
from .ace_study import ENGINE, CausalStudy, effect_studies

__all__ = ["CausalEffects"]

_CURVES = len(PALETTE)  # features in one panel
_PANELS = 12  # features of one target
_TARGETS = 6
_BARS = 20
_COLUMNS = 4
_BAND = 2.0  # deviations


@FIGURES.register("causal_effects")
class CausalEffects(FigureKind):
    """All figures of every study."""

    def knows(self, values: EngineResults | EffectResults) -> tuple[str, ...]:
        return ("*",) if isinstance(values, EffectResults) and values.engine == ENGINE else ()

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        studies = effect_studies(selection)
        if not studies:
            yield Nothing("no engine has studied average causal effects; ace does")
        for study in studies:
            targets = study.strongest_targets(_TARGETS)
            yield Drawing(f"causal-effects-{study.label}", _overview(study, targets))
            for target in targets:
                name = study.target_name(target, 30)
                yield Drawing(f"causal-effects-{study.label}-{target}-{name}", _per_feature(study, target))
            if len(study.targets) > len(targets):
                yield Nothing(
                    f"{study.label}: the {_TARGETS} most affected of {len(study.targets)} targets are drawn"
                )
            yield Drawing(f"causal-ranking-{study.label}", _ranking(study, targets))
            yield from causal_maps.draw(study, targets)
            yield from ace_pairs.draw(study)
            if "distance" in study.effects:
                yield Drawing(f"causal-taylor-{study.label}", _taylor(study, targets))


# --- curves of all features -----------------------------------------------------------------------


def _overview(study: CausalStudy, targets: Sequence[int]) -> Figure:
    """A panel per target: the strongest features over the place in their range, the data below."""
    features = [f for f in study.strongest_features(len(study.names)) if not study.discrete[f]][:_CURVES]
    across = min(3, len(targets))
    down = -(-len(targets) // across)
    figure = chart(1.2 + 3.6 * across, 1.1 + 3.3 * down)
    grid = figure.subplots(
        2 * down, across, squeeze=False, sharex=True, height_ratios=[5, 0.3 * max(len(features), 2)] * down
    )
    limits = _limits(study, features, targets)
    for position, target in enumerate(targets):
        row, column = divmod(position, across)
        curves, strips = grid[2 * row, column], grid[2 * row + 1, column]
        _draw_curves(curves, study, features, target, limits)
        _draw_strips(strips, study, features)
        strips.set_xlabel(f"{ALPHA}: place in the range of each feature")
        curves.set_title(f"target {study.target_name(target)}", loc="left")
        if column == 0:
            curves.set_ylabel(f"average causal effect ({study.unit})")
    for spare in range(len(targets), across * down):
        row, column = divmod(spare, across)
        grid[2 * row, column].set_axis_off()
        grid[2 * row + 1, column].set_axis_off()
    _explain(figure, study, features)
    return figure


def _limits(study: CausalStudy, features: Sequence[int], targets: Sequence[int]) -> tuple[float, float]:
    values = study.ace[np.ix_(features, range(study.ace.shape[1]), targets)]
    low, high = float(np.nanmin(values, initial=0.0)), float(np.nanmax(values, initial=0.0))
    room = 0.06 * (high - low) or 1.0
    return low - room, high + room


def _draw_curves(
    axes: Axes, study: CausalStudy, features: Sequence[int], target: int, limits: tuple[float, float]
) -> None:
    axes.axhline(0.0, color=GREY, linewidth=0.7)
    mean, deviation = study.fit
    for color, feature in zip(PALETTE, features, strict=False):
        count = study.count(feature)
        position = np.linspace(0, 1, count)
        middle, width = mean[feature, :count, target], _BAND * deviation[feature, :count, target]
        axes.fill_between(position, middle - width, middle + width, color=color, alpha=0.2, linewidth=0)
        axes.plot(position, study.ace[feature, :count, target], color=color, linewidth=1.8)
    axes.set(xlim=(0, 1), ylim=limits)
    axes.tick_params(labelbottom=False)


def _draw_strips(axes: Axes, study: CausalStudy, features: Sequence[int]) -> None:
    """The distribution of each feature, in its colour, below the axis."""
    for row, (color, feature) in enumerate(zip(PALETTE, features, strict=False)):
        shares = study.histogram(feature)
        edges = np.linspace(0, 1, len(shares) + 1)
        heights = 0.9 * shares / max(float(shares.max()), 1e-300)
        axes.bar(edges[:-1], heights, np.diff(edges), -row - 1 + 0.05, align="edge", color=color, alpha=0.75)
    axes.set(xlim=(0, 1), ylim=(-max(len(features), 1), 0.05), yticks=[])
    axes.spines["left"].set_visible(False)


def _explain(figure: Figure, study: CausalStudy, features: Sequence[int]) -> None:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=color, linewidth=2, label=study.described(feature))
        for color, feature in zip(PALETTE, features, strict=False)
    ]
    handles.append(Patch(color=GREY, alpha=0.3, label=f"regressor ± {_BAND:g} deviations"))
    handles.append(Patch(color=GREY, alpha=0.75, label="below: where the data are"))
    figure.legend(handles=handles, loc="outside lower left", ncols=min(3, len(handles)))
    left_out = len(study.names) - len(features)
    more = f", the strongest {len(features)} of {len(study.names)} features" if left_out else ""
    figure.suptitle(study.title(f"average causal effects{more}"), x=0.01, ha="left", fontweight="bold")


# --- one target, feature by feature ---------------------------------------------------------------


def _per_feature(study: CausalStudy, target: int) -> Figure:
    """A panel per feature, in its own units, with the data's distribution under the axis."""
    features = study.strongest_features(_PANELS, [target])
    figure, grid = panels(len(features), _COLUMNS, (2.7, 2.5), room=(0.9, 0.9), sharey=True)
    for axes, feature in zip(grid, features, strict=True):
        axes.axhline(0.0, color=GREY, linewidth=0.7)
        (_draw_levels if study.discrete[feature] else _draw_feature)(axes, study, feature, target)
        axes.set_xlabel(shorten(study.names[feature], 34))
    low, high = _limits(study, features, [target])
    grid[0].set_ylim(low - 0.2 * (high - low), high)  # the data stand in the lowest sixth
    for axes in grid[::_COLUMNS]:
        axes.set_ylabel(f"effect ({study.unit})")
    handles = [
        Line2D([], [], color=PALETTE[0], linewidth=1.8, label="average causal effect"),
        Patch(color=PALETTE[0], alpha=0.2, label=f"regressor ± {_BAND:g} deviations"),
        Patch(color=GREY, alpha=0.35, label=f"± {_BAND:g} standard errors over the data or probes"),
        Patch(color=PALETTE[4], alpha=0.6, label="where the data are"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2 if len(features) < _COLUMNS else 4)
    title = study.title(f"target {study.target_name(target)}")
    more = f"; {len(features)} of {len(study.names)} features" if len(features) < len(study.names) else ""
    figure.suptitle(title + more, x=0.01, ha="left", fontweight="bold")
    return figure


def _draw_feature(axes: Axes, study: CausalStudy, feature: int, target: int) -> None:
    count, alpha = study.count(feature), study.alpha(feature)
    mean, deviation = (values[feature, :count, target] for values in study.fit)
    effect, error = study.ace[feature, :count, target], study.error[feature, :count, target]
    sure = _BAND * np.nan_to_num(error)
    axes.fill_between(alpha, effect - sure, effect + sure, color=GREY, alpha=0.35, linewidth=0)
    band = _BAND * deviation
    axes.fill_between(alpha, mean - band, mean + band, color=PALETTE[0], alpha=0.2, linewidth=0)
    axes.plot(alpha, effect, color=PALETTE[0], linewidth=1.8)
    edges = np.linspace(alpha[0], alpha[-1], len(study.histogram(feature)) + 1)
    _draw_data(axes, edges[:-1], np.diff(edges), study.histogram(feature))
    axes.set_xlim(alpha[0], alpha[-1])
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _draw_levels(axes: Axes, study: CausalStudy, feature: int, target: int) -> None:
    count = study.count(feature)
    places = np.arange(count)
    effect, error = study.ace[feature, :count, target], study.error[feature, :count, target]
    axes.bar(places, effect, 0.55, color=PALETTE[0], alpha=0.8)
    axes.errorbar(places, effect, _BAND * np.nan_to_num(error), fmt="none", ecolor="black", capsize=2.5)
    _draw_data(axes, places - 0.4, np.full(count, 0.8), study.histogram(feature))
    axes.set_xticks(places, labels=study.level_names(feature))


def _draw_data(axes: Axes, left: np.ndarray, width: np.ndarray, shares: np.ndarray) -> None:
    """The distribution in the lowest sixth of a panel."""
    below = axes.inset_axes((0, 0, 1, 1 / 6), sharex=axes)
    below.bar(left, shares, width, align="edge", color=PALETTE[4], alpha=0.6)
    below.set_axis_off()
    below.set_ylim(0, max(float(shares.max()), 1e-300))


# --- ranking --------------------------------------------------------------------------------------


def _ranking(study: CausalStudy, targets: Sequence[int]) -> Figure:
    """Bars of the mean |effect| over the drawn targets, a mark per target."""
    features = study.strongest_features(_BARS, list(targets))
    figure = chart(8.5, 1.5 + 0.3 * max(len(features), 3))
    axes = figure.subplots()
    places = np.arange(len(features))
    axes.barh(places, study.strength[np.ix_(features, targets)].mean(axis=1), 0.62, color="#a6c8e4")
    spread = _BAND * np.nanmean(np.nan_to_num(study.error), axis=1)
    for rank, target in enumerate(targets):
        shift = (rank - (len(targets) - 1) / 2) * 0.09
        axes.errorbar(
            study.strength[features, target], places + shift, xerr=spread[features, target], fmt="o", markersize=4,
            color=PALETTE[rank], elinewidth=1.2, label=study.target_name(target, 30),
        )  # fmt: skip
    axes.set_yticks(places, labels=[shorten(study.names[feature], 34) for feature in features])
    axes.set_ylim(len(features) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"mean |average causal effect| over {ALPHA} ({study.unit})")
    axes.legend(title="target, ± 2 standard errors", loc="lower right")
    shown = f"{len(features)} of {len(study.names)}" if len(features) < len(study.names) else "all"
    figure.suptitle(study.title(f"ranking, {shown} features"), x=0.01, ha="left", fontweight="bold")
    return figure


# --- Taylor against empirical ---------------------------------------------------------------------


def _taylor(study: CausalStudy, targets: Sequence[int]) -> Figure:
    """Both estimates of every effect against each other, and how far apart they are for each feature."""
    figure = chart(11.0, 4.8)
    scatter, bars = figure.subplots(1, 2, width_ratios=(1, 1.2))
    empirical, taylor = (_centred(study.effects.values(name)) for name in ("empirical", "taylor"))
    for rank, target in enumerate(targets):
        points = np.stack([empirical[..., target].ravel(), taylor[..., target].ravel()])
        points = points[:, np.isfinite(points).all(axis=0)]
        step = max(1, points.shape[1] // 2000)
        scatter.scatter(
            *points[:, ::step], s=7, color=PALETTE[rank], alpha=0.5, linewidths=0, rasterized=True,
            label=f"target {study.target_name(target, 30)}",
        )  # fmt: skip
    scatter.axline((0, 0), slope=1, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    scatter.set(xlabel=f"empirical effect ({study.unit})", ylabel="Taylor effect")
    scatter.set_title(f"every feature and {ALPHA}; dashed: equal", loc="left")
    figure.legend(*scatter.get_legend_handles_labels(), loc="outside lower left", ncols=3, markerscale=2)
    _draw_distances(bars, study, targets)
    title = f"{study.results.path.name}: {study.label}, the Taylor estimate against the empirical one"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _centred(curves: np.ndarray) -> np.ndarray:
    return np.asarray(curves - np.nanmean(curves, axis=1, keepdims=True))


def _draw_distances(axes: Axes, study: CausalStudy, targets: Sequence[int]) -> None:
    features = study.strongest_features(_BARS, list(targets))
    distance = study.effects.values("distance")[np.ix_(features, targets)].mean(axis=1)
    size = np.sqrt(np.nanmean(np.square(study.ace), axis=1))[np.ix_(features, targets)].mean(axis=1)
    places = np.arange(len(features))
    axes.barh(places - 0.18, size, 0.36, color="#a6c8e4", label="effect (empirical)")
    axes.barh(places + 0.18, distance, 0.36, color=PALETTE[1], label="Taylor less empirical")
    axes.set_yticks(places, labels=[shorten(study.names[feature], 34) for feature in features])
    axes.set_ylim(len(features) - 0.4, -0.6)
    axes.set_xlabel(f"root mean square over {ALPHA}, mean of the targets ({study.unit})")
    axes.set_title("how large, and how far apart", loc="left")
    axes.legend(loc="lower right")
