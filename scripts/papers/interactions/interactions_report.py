"""What the curves of remove and retrain say: tables, and the paper's claim beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scripts.benchmarks.benchlib import Table
from scripts.papers.interactions.interactions_methods import EXPECTED, INTEGRATED
from scripts.papers.interactions.interactions_removal import BORROWED, COMPARED, KNOWN, RANDOM, Curve
from xattr_cli.reports.drawing.style import PALETTE, styled

__all__ = ["Areas", "area_table", "areas_of", "claim_table", "draw_curves", "gain_table"]

LEADING = (INTEGRATED, EXPECTED)
LOOKS: Mapping[str, dict[str, Any]] = {
    **{method: {"color": colour, "lw": 1.3} for method, colour in zip(COMPARED, PALETTE, strict=False)},
    BORROWED: {"color": PALETTE[0], "lw": 1.0, "ls": "-."},
    RANDOM: {"color": "0.5", "lw": 1.0, "ls": ":"},
    KNOWN: {"color": "0.2", "lw": 1.0, "ls": "--"},
}
TITLES = {
    "redrawn": "normal coefficients, terms that are gone are redrawn",
    "noise": "equal coefficients, terms that are gone are multiplied by normal noise",
}


@dataclass(frozen=True)
class Areas:
    """Areas under the curves of one function, the larger the better.

    Attributes:
        removal, function: of which these are the areas.
        of: method -> (seeds,).
    """

    removal: str
    function: str
    of: Mapping[str, np.ndarray]

    def gain(self, method: str) -> np.ndarray:
        """(seeds,) where the area lies between that of random pairs, 0, and that of the known terms, 1."""
        random, known = self.of[RANDOM], self.of[KNOWN]
        return (self.of[method] - random) / (known - random)

    def rival(self) -> str:
        """The best of the methods that are compared with integrated and expected Hessians."""
        return max((method for method in COMPARED if method not in LEADING), key=lambda name: self.of[name].mean())

    def lead(self, method: str, rival: str) -> tuple[float, float]:
        """By how much gain a method is ahead of another, and the standard error of that over the seeds."""
        ahead = self.gain(method) - self.gain(rival)
        return float(ahead.mean()), float(ahead.std(ddof=1) / len(ahead) ** 0.5) if len(ahead) > 1 else np.nan


def areas_of(curves: Sequence[Curve]) -> list[Areas]:
    """Curves gathered by removal and function, in their order."""
    names = dict.fromkeys((curve.removal, curve.function) for curve in curves)
    found = []
    for removal, function in names:
        own = [curve for curve in curves if (curve.removal, curve.function) == (removal, function)]
        methods = dict.fromkeys(curve.method for curve in own)
        areas = {name: np.array([curve.area for curve in own if curve.method == name]) for name in methods}
        found.append(Areas(removal, function, areas))
    return found


def gain_table(removal: str, areas: Sequence[Areas]) -> Table:
    """One row per method, one column per function."""
    own = [some for some in areas if some.removal == removal]
    rows = []
    for method in (*COMPARED, BORROWED):
        gains = [some.gain(method) for some in own]
        shown = [f"{gain.mean():.2f} ± {_spread(gain):.2f}" for gain in gains]
        rows.append((method, *shown, float(np.mean([gain.mean() for gain in gains]))))
    columns = {"method": "", **{some.function: "" for some in own}, "mean": ".2f"}
    note = (
        "Where the area under the curve lies between that of random pairs (0) and that of the known terms in "
        "order of the change that their removal makes (1): mean ± standard deviation over the seeds. Known terms "
        "are a yardstick, not a bound."
    )
    return Table(f"Remove and retrain: {TITLES[removal]}", columns, rows, note)


def claim_table(areas: Sequence[Areas]) -> Table:
    """The paper's claim that integrated and expected Hessians lead, function by function."""
    rows = []
    for some in areas:
        leads = [some.lead(method, some.rival()) for method in LEADING]
        own = some.lead(INTEGRATED, BORROWED)
        shown = [f"{ahead:+.2f} ± {error:.2f}" for ahead, error in (*leads, own)]
        rows.append((some.removal, some.function, some.rival(), *shown[:2], verdict(leads), shown[2]))
    headings = ("removal", "function", "best of the others", *LEADING, "the paper's claim", "own sample")
    columns = dict.fromkeys(headings, "")
    note = (
        "How far integrated and expected Hessians are ahead of the best other method, in units of the tables "
        "below, ± the standard error over paired seeds. The claim holds if one of the two is ahead by more than "
        "two standard errors, fails if both are behind by more than that; level is everything between. own "
        "sample: integrated Hessians of the sample against those of another one; where this is below zero, the "
        "benchmark rewards to know the terms and not the sample, and says little about maps of samples."
    )
    return Table("Do integrated and expected Hessians lead?", columns, rows, note)


def verdict(leads: Sequence[tuple[float, float]]) -> str:
    """What leads and their standard errors say about the claim."""
    if any(ahead > 2 * error for ahead, error in leads):
        return "holds"
    return "fails" if all(ahead < -2 * error for ahead, error in leads) else "level"


def area_table(areas: Sequence[Areas]) -> Table:
    """The areas themselves."""
    rows = [
        (some.removal, some.function, method, float(area.mean()), _spread(area))
        for some in areas
        for method, area in some.of.items()
    ]
    columns = {"removal": "", "function": "", "method": "", "area": ".3f", "sd": ".3f"}
    note = (
        "Area under the curve of test error against k, divided by the number of pairs: the mean squared error "
        "over k = 0 … 45. sd: over the seeds, whose data, terms and first weights all differ."
    )
    return Table("Areas under the curves", columns, rows, note)


def _spread(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else 0.0


@styled
def draw_curves(removal: str, curves: Sequence[Curve], path: Path) -> None:
    """Test error against interactions removed, means over the seeds: a panel per function, a line per method."""
    own = [curve for curve in curves if curve.removal == removal]
    functions = list(dict.fromkeys(curve.function for curve in own))
    rows = -(-len(functions) // 3)
    figure = Figure(figsize=(8.0, 2.2 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, min(3, len(functions)), squeeze=False, sharex=True).flat
    for panel, function in zip(panels, functions, strict=False):
        _draw_panel(panel, [curve for curve in own if curve.function == function])
        panel.set_title(function)
    figure.suptitle(f"Test error after interactions are removed: {TITLES[removal]}")
    figure.supylabel("mean squared error", fontsize="medium")
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(
        lines,
        names,
        loc="outside lower center",
        ncols=4,
        title="horizontally: interactions removed from every sample",
    )
    figure.savefig(path, dpi=100)


def _draw_panel(panel: Axes, curves: Sequence[Curve]) -> None:
    for method in dict.fromkeys(curve.method for curve in curves):
        errors = np.array([curve.errors for curve in curves if curve.method == method])
        k, mean, spread = curves[0].removed, errors.mean(axis=0), errors.std(axis=0) / len(errors) ** 0.5
        panel.plot(k, mean, label=method, **LOOKS[method])
        panel.fill_between(k, mean - spread, mean + spread, color=LOOKS[method]["color"], alpha=0.08, lw=0)
    panel.set_ylim(bottom=0)
