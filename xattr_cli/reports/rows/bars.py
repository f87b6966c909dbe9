"""Rows of a table beside their attributions: the features that matter most, as bars with error bars."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.importance import attribution_errors
from ..drawing.sheet import Sheet, by_unit, title_lines, title_map
from ..drawing.style import GREY, LOWERS, RAISES
from ..drawing.words import displayed_feature_names, number, score_unit, shorten

__all__ = ["BarSheet"]

_TOP = 8
_NAME_WIDTH, _VALUE_WIDTH = 24, 10  # characters

# inches
_LABELS, _BAR_CELL, _GAP, _LINE, _TICKS, _LETTER = 2.45, 2.0, 0.3, 0.17, 0.36, 0.066


class BarSheet(Sheet):
    """Rows of a table: a column per engine, features in the order of the first engine's attributions.

    Within a line all maps in one unit share their axis, so that they can be compared.
    """

    def __init__(
        self, results: Results, tensor: str, engines: Sequence[EngineResults], rows: Sequence[int]
    ) -> None:
        self.tensor = tensor
        self.engines = [engine for unit in by_unit(engines) for engine in unit]
        self.units = by_unit(engines)
        self.features = engines[0].tensors[tensor][0]
        self.names = displayed_feature_names(results, tensor, self.features)
        self.lines = min(_TOP, self.features) + (self.features > _TOP)
        self.cell_height = self.lines * _LINE
        # as much room as the longest name with its value takes
        longest = min(max(map(len, self.names)), _NAME_WIDTH)
        self.labels = min(_LABELS, 0.2 + _LETTER * max(longest + _VALUE_WIDTH, len("sum of 99 others")))
        heads = {self.labels + k * (_BAR_CELL + _GAP): engine.label for k, engine in enumerate(self.engines)}
        super().__init__(
            results,
            rows,
            title=f"{results.path.name}: attribution of {tensor}",
            legend=(
                f"Orange raises the {score_unit(results)} of the target, blue lowers it. "
                "±: reported relative L2 error of the map; lines: its share in each feature."
            ),
            width=self.labels + len(self.engines) * (_BAR_CELL + _GAP),
            height=self.cell_height + _TICKS,
            title_lines=title_lines(engines, rows),
            heads=heads,
        )

    def draw_cells(self, row: int, left: float, top: float) -> None:
        order = self._order(row)
        labels = self._labels(row, order)
        left += self.labels
        for engines in self.units:
            bars = [self._bars(engine, row, order) for engine in engines]
            reach = [np.abs(values) + np.nan_to_num(errors) for values, errors in bars]
            limit = float(np.nanmax(reach, initial=0.0)) or 1.0
            for engine, (values, errors) in zip(engines, bars, strict=True):
                axes = self.page.axes(left, top, _BAR_CELL, self.cell_height)
                if title_map(axes, engine, row):
                    _draw_bars(axes, values, errors, limit)
                axes.set_yticks(range(self.lines), labels=labels or [""] * self.lines)
                axes.set_ylim(self.lines - 0.5, -0.5)
                axes.tick_params(left=False, labelsize=8)
                left, labels = left + _BAR_CELL + _GAP, []

    def _order(self, row: int) -> np.ndarray:
        """Features that are shown, the largest attribution of the first engine with a map first."""
        for engine in self.engines:
            values = engine.attribution([row], self.tensor)[0]
            if np.isfinite(values).all():
                return np.argsort(-np.abs(values), kind="stable")[:_TOP]
        return np.arange(min(_TOP, self.features))

    def _labels(self, row: int, order: np.ndarray) -> list[str]:
        sample = int(self.results.rows.sample[row])
        source = self.results.inputs.get(self.tensor)
        labels = [shorten(self.names[feature], _NAME_WIDTH) for feature in order]
        if source is not None and source.shape == (self.features,) and sample in source.stored:
            values = self.results.original(self.tensor, sample)[order]
            labels = [f"{name} = {number(float(v))}" for name, v in zip(labels, values, strict=True)]
        others = self.features - len(order)
        return [*labels, f"sum of {others} other{'s' if others > 1 else ''}"] if others else labels

    def _bars(self, engine: EngineResults, row: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(lines,) attributions and their errors, the sum of all other features last."""
        values = engine.attribution([row], self.tensor).astype(np.float64)
        errors = attribution_errors(engine, self.tensor, [row], values)
        if self.features == len(order):
            return values[0, order], errors[0, order]
        rest = np.setdiff1d(np.arange(self.features), order)
        shown = np.r_[values[0, order], values[0, rest].sum()]
        return shown, np.r_[errors[0, order], np.linalg.norm(errors[0, rest])]


def _draw_bars(axes: Axes, values: np.ndarray, errors: np.ndarray, limit: float) -> None:
    places = np.arange(len(values))
    axes.barh(places, values, height=0.7, color=np.where(values < 0, LOWERS, RAISES))
    axes.errorbar(values, places, xerr=np.nan_to_num(errors), fmt="none", ecolor="black", elinewidth=1.0)
    axes.axvline(0.0, color=GREY, linewidth=0.7)
    axes.spines["left"].set_visible(False)
    axes.set_xlim(-1.05 * limit, 1.05 * limit)
    axes.xaxis.set_major_locator(MaxNLocator(5, symmetric=True))
