"""Tokens along the path: a heat map of α by tokens, and of the integral up to α, beside the curve of the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.selection import Drawing, Nothing, Selection, spread
from ..drawing.sheet import BAR, Sheet
from ..drawing.style import GREY, diverging_map, symmetric_limit
from ..drawing.words import ALPHA, score_unit, shorten
from ..rows.token_rows import TokenReader, is_text
from .maps import draw_score

__all__ = ["draw"]

_MOST_ROWS = 4
_MOST_TOKENS = 32
_NAME_WIDTH = 14  # characters

# inches
_CURVE, _SCALE, _LABEL, _TOKEN, _ALPHA = 1.3, 0.34, 0.55, 0.24, 0.2
_NAMES, _LINE_GAP, _LEAST = 0.62, 0.2, 0.9


def draw(selection: Selection, engine: EngineResults) -> Iterator[Drawing | Nothing]:
    """A page of up to four of the selected rows per tensor whose steps are tokens."""
    for tensor in engine.tensors if len(engine.map_alpha) else ():
        if not is_text(selection.results, tensor):
            continue
        reader = TokenReader(selection.results, tensor, [engine])
        good = [row for row in selection.rows.tolist() if engine.status[row] != Status.QUARANTINED]
        rows = [row for row in good if reader.pieces(row)]
        stem = f"saturation-tokens-{engine.label}" + (f"-{tensor}" if len(engine.tensors) > 1 else "")
        if rows:
            yield Drawing(stem, _TokenPaths(selection.results, engine, reader, spread(rows, _MOST_ROWS)).draw())
        else:
            yield Nothing(f"{engine.label}: no selected row has stored tokens and is not quarantined")


class _TokenPaths(Sheet):
    """Per row the score over α and two heat maps, α from top to bottom, tokens from left to right."""

    def __init__(self, results: Results, engine: EngineResults, reader: TokenReader, rows: Sequence[int]) -> None:
        self.engine = engine
        self.reader = reader
        self.cell_height = max(_LEAST, _ALPHA * len(engine.map_alpha))
        most = min(_MOST_TOKENS, max(len(reader.pieces(row)) for row in rows))
        super().__init__(
            results,
            rows,
            title=f"{results.path.name}: {engine.label}, tokens along the path",
            legend=(
                f"Orange raises the {score_unit(results)} of the target, blue lowers it.\n"
                "Every heat map has one scale: gradients that fade downwards show saturation.\n"
                f"Of long texts, the {_MOST_TOKENS} tokens of the largest attributions."
            ),
            width=_CURVE + _LABEL + most * _TOKEN + BAR + 0.1,
            height=2 * self.cell_height + _LINE_GAP + _NAMES,
            title_lines=0,
            heads={},
        )

    def draw_cells(self, row: int, left: float, top: float) -> None:
        curve = self.page.axes(left + _SCALE, top, _CURVE - _SCALE, max(_LEAST, min(self.cell_height, 1.1)))
        draw_score(curve, self.results, self.engine, row)
        maps, running = (
            self.reader.per_token(values[0], row) for values in self.engine.path_maps([row], self.reader.tensor)
        )
        shown = np.sort(np.argsort(-np.abs(running[-1]), kind="stable")[:_MOST_TOKENS])
        names = [shorten(self.reader.pieces(row)[place].text, _NAME_WIDTH) for place in shown]
        left += _CURVE + _LABEL
        self._draw_map("Δ ⊙ gradient", maps[:, shown], [], left, top)
        self._draw_map(f"integral to {ALPHA}", running[:, shown], names, left, top + self.cell_height + _LINE_GAP)

    def _draw_map(self, label: str, values: np.ndarray, names: Sequence[str], left: float, top: float) -> None:
        """Values (alphas, tokens)."""
        axes = self.page.axes(left, top, values.shape[1] * _TOKEN, self.cell_height)
        limit = symmetric_limit(values)
        looks: dict[str, Any] = {"cmap": diverging_map(), "vmin": -limit, "vmax": limit, "aspect": "auto"}
        image = axes.imshow(values, interpolation="nearest", **looks)
        axes.spines[:].set(visible=True, color="0.7")
        axes.set_yticks(
            range(len(values)), labels=[f"{alpha:.3g}" for alpha in self.engine.map_alpha], fontsize=6.5
        )
        axes.set_ylabel(label, fontsize=8, color=GREY)
        axes.set_xticks(
            range(len(names)), labels=names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7
        )
        axes.tick_params(length=2, pad=1.5)
        self.page.colour_bar(image, left + values.shape[1] * _TOKEN + 0.08, top, self.cell_height)
