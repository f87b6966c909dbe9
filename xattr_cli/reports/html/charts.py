"""Figures of a whole file inside a page: the kinds that `plot` draws, as SVG where that is small, else as PNG."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from ..drawing.selection import Drawing, Selection
from ..drawing.style import missing_glyphs_said_once, styled
from ..figures import figure_kinds
from .images import data_uri

__all__ = ["Chart", "chart_of", "charts"]

_OF_ROWS = {"animation", "samples", "lines", "overlays", "tokens", "molecules"}
"""Kinds that show single rows, which the page does itself, or move."""

_LARGEST_SVG = 60_000  # bytes; a PNG of a figure has 30 to 150 kB
_DPI = 144
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chart:
    """A figure as an image.

    Attributes:
        stem: what `plot` would call its file.
        source: data URI.
        text: what it shows, for those who do not see it.
        width, height: in CSS pixels.
    """

    stem: str
    source: str
    text: str
    width: int
    height: int


@styled
def charts(selection: Selection) -> list[Chart]:
    """All figures of the file that do not show single rows one by one."""
    with missing_glyphs_said_once():
        return list(_drawn(selection))


def _drawn(selection: Selection) -> Iterator[Chart]:
    for name, kind in figure_kinds(_LOG.warning).items():
        if name not in _OF_ROWS:
            for item in kind.draw(selection):
                if isinstance(item, Drawing):
                    yield chart_of(item)


def chart_of(item: Drawing) -> Chart:
    """A finished figure as an image."""
    width, height = (round(96 * inches) for inches in item.figure.get_size_inches())
    return Chart(item.stem, _image(item.figure), _words(item.figure), width, height)


def _image(figure: Figure) -> str:
    buffer = BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": ["DejaVu Sans", "Verdana", "sans-serif"]}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    if buffer.tell() <= _LARGEST_SVG:
        return data_uri(buffer.getvalue(), "image/svg+xml")
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    small = BytesIO()
    Image.open(buffer).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return data_uri(small.getvalue(), "image/png")


def _words(figure: Figure) -> str:
    """Titles and labels of a figure."""
    parts = [figure.get_suptitle()]
    for axes in figure.axes:
        title = axes.get_title(loc="left") or axes.get_title()
        labels = " against ".join(label for label in (axes.get_ylabel(), axes.get_xlabel()) if label)
        parts.append(": ".join(part for part in (title, labels) if part))
    return ". ".join(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))
