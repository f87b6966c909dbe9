"""A figure whose axes are placed in inches from its top left corner, so that nothing is cut or overlaps."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.text import Text

from .words import number

__all__ = ["BAR_WIDTH", "Page"]

BAR_WIDTH = 0.09


class Page:
    """A page of `width` × `height` inches.

    Attributes:
        figure: the page as a matplotlib figure.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width = width
        self.height = height
        self.figure = Figure(figsize=(width, height))

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose top left corner is at (left, top)."""
        bottom = self.height - top - height
        box = (left / self.width, bottom / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def text(self, left: float, top: float, text: str, **looks: Any) -> Text:
        """Text hanging from (left, top)."""
        looks = {"ha": "left", "va": "top", **looks}
        return self.figure.text(left / self.width, 1 - top / self.height, text, **looks)

    def colour_bar(self, image: ScalarMappable, left: float, top: float, height: float) -> Axes:
        """The colours of an image at its right, with ticks at the ends and at zero."""
        bar = self.axes(left, top, BAR_WIDTH, height)
        low, high = image.get_clim()
        self.figure.colorbar(image, cax=bar, ticks=[low, 0.0, high])
        bar.set_yticklabels([number(low), "0", number(high)], fontsize=7)
        bar.tick_params(length=2, pad=2)
        return bar
