"""The causal graph, every node as large as its intrinsic contribution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.patheffects import withStroke

from ...registry import FIGURES
from ..drawing.figure import FigureKind
from ..drawing.selection import Drawing, Nothing, Selection
from ..drawing.style import GREY, PALETTE, chart
from ..drawing.words import fold, percent, shorten
from .shares import ShareStudy, share_studies

__all__ = ["CausalGraph", "layered", "networkx"]

_TARGETS = 4
_LARGEST = 40.0  # points, radius of a node that contributes everything
_SMALLEST = 3.0
_ROW = 1.45  # inches
_COLUMN = 2.4


@FIGURES.register("causal_graph")
class CausalGraph(FigureKind):
    """A figure per study that has a graph, for all outputs together and for those that vary most."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        studies = [study for study in share_studies(selection, ("icc",)) if len(study.effects.values("edges"))]
        if not studies:
            yield Nothing("no engine has a causal graph with edges; icc with graph or order has")
        elif networkx is None:
            yield Nothing("the graph is laid out by networkx: pip install 'xattr-cli[icc]'")
            return
        for study in studies:
            for target in study.targets(_TARGETS):
                yield Drawing(f"contribution-graph-{study.label}{study.stem(target)}", _draw(study, target))


def _draw(study: ShareStudy, target: int | None) -> Figure:
    edges = [(int(cause), int(effect)) for cause, effect in study.effects.values("edges")]
    places = _spaced(layered(len(study.nodes), edges))
    width, height = np.ptp(places, axis=0)
    figure = chart(max(float(width) + _COLUMN, 4.5), float(height) + 1.1 * _ROW + 0.6)
    axes = figure.subplots()
    _draw_nodes(axes, study, target, places)
    _draw_edges(axes, places, edges, _radii(study, target))
    axes.set(
        xlim=(places[:, 0].min() - 0.5 * _COLUMN, places[:, 0].max() + 0.5 * _COLUMN),
        ylim=(places[:, 1].min() - 0.45 * _ROW, places[:, 1].max() + 0.65 * _ROW),
    )
    axes.set_axis_off()
    title = f"{study.results.path.name}: {shorten(study.label, 30)}, {study.target_name(target)}"
    figure.suptitle(f"{title}\narea: topological contribution", x=0.01, ha="left", fontweight="bold")
    return figure


def _spaced(places: np.ndarray) -> np.ndarray:
    """Places in inches: columns a fixed distance apart, and the nearest neighbours of a column, too."""
    columns, column = np.unique(places[:, 0].round(9), return_inverse=True)
    gaps = [np.diff(np.sort(places[column == i, 1])) for i in range(len(columns))]
    nearest = min((float(gap.min()) for gap in gaps if len(gap)), default=1.0)
    return np.stack([column * _COLUMN, places[:, 1] / nearest * _ROW], axis=1)


def _radii(study: ShareStudy, target: int | None) -> np.ndarray:
    """(nodes,) points."""
    shares = study.shares("topological", target)
    known = np.zeros(len(study.nodes)) if shares is None else np.nan_to_num(shares.value).clip(0, 1)
    return np.asarray((_LARGEST**2 * known + _SMALLEST**2) ** 0.5)


def _draw_nodes(axes: Axes, study: ShareStudy, target: int | None, places: np.ndarray) -> None:
    radii, shares = _radii(study, target), study.shares("topological", target)
    axes.scatter(
        places[:, 0],
        places[:, 1],
        s=(2 * radii) ** 2,
        color="#a6c8e4",
        edgecolors=PALETTE[0],
        linewidths=1.0,
        zorder=2,
    )
    for node, (x, y) in enumerate(places):
        value = percent(float(shares.value[node])) if shares is not None else ""
        axes.annotate(
            f"{fold(study.nodes[node], 18)}\n{value}",
            (x, y),
            xytext=(0, radii[node] + 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=9,
            zorder=4,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )


def _draw_edges(axes: Axes, places: np.ndarray, edges: list[tuple[int, int]], radii: np.ndarray) -> None:
    """Arrows from rim to rim, bent away from the middle where another node may lie in between."""
    middle = (places[:, 1].min() + places[:, 1].max()) / 2
    for cause, effect in edges:
        columns = (places[effect, 0] - places[cause, 0]) / _COLUMN
        is_above = places[[cause, effect], 1].mean() >= middle
        bend = 0.0 if columns < 1.5 else -0.22 if is_above else 0.22
        axes.add_patch(
            FancyArrowPatch(
                places[cause],
                places[effect],
                arrowstyle="-|>",
                mutation_scale=12,
                color=GREY,
                linewidth=1.1,
                shrinkA=radii[cause] + 1,
                shrinkB=radii[effect] + 2,
                connectionstyle=f"arc3,rad={bend}",
                zorder=3,
            )
        )


try:
    import networkx
except ImportError:
    networkx = None


def layered(nodes: int, edges: Sequence[tuple[int, int]]) -> np.ndarray:
    """(nodes, 2) places within ±1: in x by the generation of a node, in y by its place in its generation.

    Within a generation nodes are ordered by the mean height of their causes, so that few arrows cross.
    """
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from(edges)
    layers: dict[int, list[int]] = {}
    height: dict[int, float] = {}
    for layer, generation in enumerate(networkx.topological_generations(graph)):
        layers[layer] = sorted(generation, key=lambda node: _mean_height(graph, node, height))
        for position, node in enumerate(layers[layer]):
            height[node] = position - (len(generation) - 1) / 2
    placed = networkx.multipartite_layout(graph, subset_key=layers, align="vertical")
    return np.array([placed[node] for node in range(nodes)], dtype=np.float64)


def _mean_height(graph: Any, node: int, height: dict[int, float]) -> tuple[float, int]:
    causes = list(graph.predecessors(node))
    return (sum(height[cause] for cause in causes) / len(causes) if causes else 0.0, node)
