"""Two features set at once: the mean output on a grid of both, and what of it is no sum of two effects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..drawing.selection import Drawing
from ..drawing.style import chart, diverging_map, symmetric_limit, value_map
from ..drawing.words import shorten
from .ace_study import CausalStudy

__all__ = ["draw"]


def draw(study: CausalStudy) -> Iterator[Drawing]:
    """A figure for each pair, of the target on which the two act together most."""
    if "pair/feature" not in study.effects:
        return
    for number, pair in enumerate(study.effects.values("pair/feature").astype(int).tolist()):
        names = "-".join(shorten(study.names[feature], 20) for feature in pair)
        yield Drawing(f"causal-pair-{study.label}-{names}", _figure(study, number, pair))


def _figure(study: CausalStudy, number: int, pair: list[int]) -> Figure:
    strength = study.effects.values("pair/strength")[number]
    grids = [study.effects.values(f"pair/{name}")[number] for name in ("interventional", "interaction")]
    spread = np.nanstd(grids[0], axis=(0, 1))
    target = int(np.argmax(strength * spread))
    alphas = study.effects.values("pair/alpha")[number]
    ends = [
        study.in_units(feature, alpha[np.isfinite(alpha)]) for feature, alpha in zip(pair, alphas, strict=True)
    ]
    figure = chart(9.6, 4.4)
    together, beyond = figure.subplots(1, 2, sharey=True)
    _panel(together, grids[0][..., target], ends, value_map(), None)
    limit = symmetric_limit(grids[1][..., target])
    _panel(beyond, grids[1][..., target], ends, diverging_map(), limit)
    for axes, title in ((together, f"mean {study.unit}"), (beyond, "beyond the sum of both effects")):
        axes.set_title(title, loc="left")
        axes.set_xlabel(shorten(study.names[pair[1]], 34))
        figure.colorbar(axes.images[0], ax=axes, shrink=0.9, pad=0.02)
    together.set_ylabel(shorten(study.names[pair[0]], 34))
    what = f"{study.target_name(target)}, interaction {100 * float(strength[target]):.0f} % of the effect"
    figure.suptitle(study.title(what), x=0.01, ha="left", fontweight="bold")
    return figure


def _panel(axes: Axes, values: np.ndarray, ends: list[np.ndarray], colours: object, limit: float | None) -> None:
    first, second = ends
    shown = values[: len(first), : len(second)]
    spread = {} if limit is None else {"vmin": -limit, "vmax": limit}
    axes.imshow(shown, origin="lower", aspect="auto", interpolation="nearest", cmap=colours, **spread)  # type: ignore[arg-type]
    for axis, grid in ((axes.yaxis, first), (axes.xaxis, second)):
        places = np.unique(np.linspace(0, len(grid) - 1, min(5, len(grid))).round().astype(int))
        axis.set_ticks(places, [f"{grid[place]:.3g}" for place in places])
