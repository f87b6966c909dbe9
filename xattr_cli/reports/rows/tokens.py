"""Texts whose tokens are coloured by their attributions: wrapped, with error bars, strongest tokens in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path

from ...registry import FIGURES
from ...samples import Status
from ..drawing.figure import FigureKind
from ..drawing.page import Page
from ..drawing.selection import Document, Drawing, Nothing, Selection, tensors_of
from ..drawing.style import GREY, WARNING, diverging_map, ink
from ..drawing.words import describe_map, describe_row, number, score_unit, shorten
from .token_html import token_document
from .token_rows import TokenMap, TokenReader, is_text
from .token_words import Piece

__all__ = ["TokenPages", "wrapped"]

_STRONGEST = 6
_MOST_SHOWN = 1000  # tokens of a text; the HTML file has all of them
_LONGEST = 40  # characters of a token
_POINTS = 9.0

# inches
_MARGIN, _FACTS, _TEXT = 0.2, 1.9, 8.2
_TITLE, _LEGEND, _SMALL, _LINE, _BOX = 0.26, 0.5, 0.165, 0.27, 0.21
_SPACE, _INSET, _BETWEEN = 0.075, 0.03, 0.2
_TALLEST = 13.0


@FIGURES.register("tokens")
class TokenPages(FigureKind):
    """Pages of texts and one HTML document per tensor whose steps are tokens."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Document | Nothing]:
        tensors = tensors_of(selection.engines)
        texts = {name: engines for name, engines in tensors.items() if is_text(selection.results, name)}
        if not texts:
            yield Nothing("no explained tensor has tokens whose names are in the file")
        for name, engines in texts.items():
            stem = "tokens" if len(texts) == 1 else f"tokens-{name}"
            reader = TokenReader(selection.results, name, engines)
            rows = [row for row in selection.rows.tolist() if reader.pieces(row)]
            if not rows:
                yield Nothing(f"the tokens of {name!r} are not stored for any of the selected rows")
                continue
            yield from _pages(reader, rows, stem)
            yield Document(stem, token_document(reader, rows))


def _pages(reader: TokenReader, rows: Sequence[int], stem: str) -> Iterator[Drawing]:
    pages: list[list[_Block]] = [[]]
    room = _TALLEST
    for row in rows:
        block = _Block(reader, row)
        if pages[-1] and block.height > room:
            pages.append([])
            room = _TALLEST
        pages[-1].append(block)
        room -= block.height
    for count, blocks in enumerate(pages, start=1):
        yield Drawing(stem if len(pages) == 1 else f"{stem}-{count}", _draw_page(reader, blocks))


def _draw_page(reader: TokenReader, blocks: Sequence[_Block]) -> Figure:
    top = _MARGIN + _TITLE + _LEGEND
    page = Page(2 * _MARGIN + _FACTS + _TEXT, top + sum(block.height for block in blocks) + _MARGIN)
    title = f"{reader.results.path.name}: attribution of tokens, {shorten(reader.tensor, 60)}"
    page.text(_MARGIN, _MARGIN, title, fontsize=10, fontweight="bold")
    unit = score_unit(reader.results)
    legend = (
        f"Orange raises the {unit} of the target, blue lowers it; every text has its own scale. Pieces of one "
        "word touch.\n±: reported relative L2 error of the map. Strongest: attributions in numbers."
    )
    page.text(_MARGIN, _MARGIN + _TITLE, legend, fontsize=8, color=GREY, linespacing=1.35)
    _draw_colours(page)
    for block in blocks:
        block.draw(page, top)
        top += block.height
    return page.figure


def _draw_colours(page: Page) -> None:
    """The colours from one end of a scale to the other, at the right of the legend."""
    left, top = page.width - _MARGIN - 2.3, _MARGIN + _TITLE + 0.03
    bar = page.axes(left, top, 1.6, 0.12)
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=diverging_map(), vmin=0, vmax=1, aspect="auto")
    bar.set(xticks=[], yticks=[])
    looks = {"fontsize": 8, "color": GREY, "va": "center"}
    page.text(left - 0.05, top + 0.06, "lowers", ha="right", **looks)
    page.text(left + 1.65, top + 0.06, "raises", **looks)


class _Block:
    """A row: at the left in words what it explains, at the right the text, once per engine."""

    def __init__(self, reader: TokenReader, row: int) -> None:
        self.facts = describe_row(reader.results, row)
        self.row = row
        whole = reader.pieces(row)
        self.left_out = max(0, len(whole) - _MOST_SHOWN)
        self.pieces = [Piece(shorten(p.text, _LONGEST), p.is_glued) for p in whole[:_MOST_SHOWN]]
        self.maps = reader.maps(row)
        self.lines = wrapped(self.pieces, [_width(piece.text) for piece in self.pieces], _TEXT)
        shown = sum(found.values is not None for found in self.maps)
        height = len(self.maps) * (2 * _SMALL + _BETWEEN / 2) + shown * len(self.lines) * _LINE
        self.height = max(len(self.facts) * _SMALL, height) + _BETWEEN

    def draw(self, page: Page, top: float) -> None:
        """Draw the row from `top` on, in inches."""
        first, *others = self.facts
        page.text(_MARGIN, top, first, fontweight="bold")
        page.text(_MARGIN, top + 0.18, "\n".join(others), fontsize=8.5, linespacing=1.35)
        left = _MARGIN + _FACTS
        for tensors_of_tokens in self.maps:
            self._say(page, tensors_of_tokens, left, top)
            top += _SMALL
            for line in self.lines if tensors_of_tokens.values is not None else ():
                self._draw_line(page, tensors_of_tokens.shares, line, left, top + 0.03)
                top += _LINE
            page.text(left, top + 0.03, self._strongest(tensors_of_tokens), fontsize=8, color=GREY)
            top += _SMALL + _BETWEEN / 2

    def _say(self, page: Page, token_map: TokenMap, left: float, top: float) -> None:
        status = token_map.engine.status[self.row]
        if status == Status.QUARANTINED:
            facts = "quarantined: score or gradient is not finite"
        else:
            facts = f"{describe_map(token_map.engine, self.row)}; colours end at ±{number(token_map.limit)}"
        label = shorten(token_map.engine.label, 50)
        color = "black" if status in (Status.CONVERGED, Status.NOT_JUDGED) else WARNING
        page.text(left, top, f"{label}: {facts}".replace("\n", ", "), fontsize=8, color=color)

    def _strongest(self, token_map: TokenMap) -> str:
        if token_map.values is None:
            return ""
        more = f"; {self.left_out} more tokens, which the HTML file shows" if self.left_out else ""
        places = token_map.strongest(_STRONGEST)
        shown = [f"{self._name(place)} {_signed(token_map.values[place])}" for place in places]
        return (f"strongest: {', '.join(shown)}" if shown else "all attributions are 0") + more

    def _name(self, place: int) -> str:
        return shorten(self.pieces[place].text, 20) if place < len(self.pieces) else f"token {place}"

    def _draw_line(
        self, page: Page, shares: np.ndarray, line: Sequence[tuple[int, float]], left: float, top: float
    ) -> None:
        for place, start in line:
            text, colour = self.pieces[place].text, diverging_map()(float(shares[place]))
            corner = (left + start, page.height - top - _BOX)
            box = Rectangle(corner, _width(text), _BOX, facecolor=colour, edgecolor="0.8", linewidth=0.4)
            box.set_transform(page.figure.dpi_scale_trans)
            page.figure.add_artist(box)
            looks: dict[str, Any] = {"fontsize": _POINTS, "color": ink(colour), "va": "center_baseline"}
            page.text(left + start + _INSET, top + _BOX / 2, text, **looks)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + number(float(value))


def wrapped(pieces: Sequence[Piece], widths: Sequence[float], room: float) -> list[list[tuple[int, float]]]:
    """Lines of (place of a piece, its left end); words are kept whole as far as they fit into a line.

    Arguments:
        pieces: of a text.
        widths: of the pieces, in the unit of `room`.
        room: width of a line.
    """
    lines: list[list[tuple[int, float]]] = [[]]
    end = 0.0
    for word in _words(pieces):
        gap = _SPACE if lines[-1] else 0.0
        if lines[-1] and end + gap + sum(widths[place] for place in word) > room:
            lines.append([])
            end = gap = 0.0
        end += gap
        for place in word:
            if lines[-1] and end + widths[place] > room:
                lines.append([])
                end = 0.0
            lines[-1].append((place, end))
            end += widths[place]
    return lines


def _words(pieces: Sequence[Piece]) -> list[list[int]]:
    words: list[list[int]] = []
    for place, piece in enumerate(pieces):
        if piece.is_glued and words:
            words[-1].append(place)
        else:
            words.append([place])
    return words


@cache
def _width(text: str) -> float:
    """Inches that the box of a token takes."""
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=_POINTS), False)
    return float(width) / 72 + 2 * _INSET
