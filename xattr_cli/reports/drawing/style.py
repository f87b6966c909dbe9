"""How every figure looks: fonts, sizes, and colours that colour-blind readers can tell apart."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.layout_engine import ConstrainedLayoutEngine

__all__ = [
    "GREY",
    "LOWERS",
    "PADDING",
    "PALETTE",
    "RAISES",
    "SEQUENTIAL",
    "WARNING",
    "chart",
    "diverging_map",
    "ink",
    "missing_glyphs_said_once",
    "panels",
    "styled",
    "symmetric_limit",
    "value_map",
]

# Okabe and Ito's palette, without its yellow and light blue, which are too pale for lines
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
WARNING = "#D55E00"
RAISES, LOWERS = "#f08a3c", "#2f8fd0"  # what raises the score of the target, what lowers it
GREY = "0.45"
PADDING = "0.82"

# Blue, white, orange. The smallest CIELAB distance between +v and -v, to normal sight and the three kinds of
# colour blindness, is 43 and 91 at a quarter and at half of the scale; coolwarm has 38 and 65, PuOr 23 and
# 53, RdBu 25 and 48 (tests/reports/test_reports.py computes it)
_DIVERGING = ("#00467a", LOWERS, "#ffffff", RAISES, "#8f3400")
SEQUENTIAL = "cividis"

_FALLBACK_FONTS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans", "Arial Unicode MS", "Hiragino Sans")

_RC: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.0,
    "ytick.labelsize": 8.0,
    "legend.fontsize": 8.0,
    "legend.frameon": False,
    "figure.titlesize": 10.0,
    "figure.facecolor": "white",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
    "hatch.linewidth": 0.5,
    "image.interpolation": "antialiased",
    "pdf.fonttype": 42,
    "svg.hashsalt": "xattr-cli",
    "text.parse_math": False,  # a class named "5$ to 10$" is not a formula
}

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def styled(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator: run `draw` with the fonts and sizes of this project, whatever the user's matplotlibrc is."""

    @wraps(draw)
    def inside(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_RC)
            matplotlib.rcParams["font.family"] = _fonts()
            return draw(*args, **kwargs)

    return inside


@cache
def _fonts() -> list[str]:
    """DejaVu Sans, which matplotlib brings along, and what is installed of fonts for other scripts."""
    installed = set(get_font_names())
    return ["DejaVu Sans", *(name for name in _FALLBACK_FONTS if name in installed)]


def chart(width: float, height: float) -> Figure:
    """A figure of `width` × `height` inches that makes room for its labels by itself."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))


def panels(
    count: int, across: int, size: tuple[float, float], room: tuple[float, float], **options: Any
) -> tuple[Figure, list[Axes]]:
    """A chart of `count` panels of `size` inches in lines of at most `across`, with `room` around all of them.

    Arguments:
        options: of `Figure.subplots`.
    """
    across = min(across, count)
    down = -(-count // across)
    figure = chart(room[0] + size[0] * across, room[1] + size[1] * down)
    grid: list[Axes] = list(figure.subplots(down, across, squeeze=False, **options).ravel())
    for spare in grid[count:]:
        spare.set_axis_off()
    return figure, grid[:count]


@cache
def diverging_map() -> Colormap:
    """The colours of signed maps, white at zero; what is not a number stays transparent."""
    return LinearSegmentedColormap.from_list("blue_white_orange", _DIVERGING, 257)


def ink(background: tuple[float, ...]) -> str:
    """Black or white, whichever is easier to read on an RGB colour: a contrast of at least 4.5 (WCAG 2.2, AA)."""
    channels = np.array(background[:3])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "black" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else "white"


@cache
def value_map() -> Colormap:
    """The colours of feature values, low to high, without the palest yellow, which fades on white."""
    colours = matplotlib.colormaps[SEQUENTIAL](np.linspace(0.0, 0.93, 256))
    return ListedColormap(colours, "values").with_extremes(bad="0.75")


def symmetric_limit(*maps: np.ndarray) -> float:
    """The value at which colours saturate, the same for both signs: the 99th percentile of |map|.

    The few largest values of a noisy map would otherwise leave all others pale. NaNs are left out; maps
    without a finite non-zero value get 1, and so does no map at all.
    """
    sizes = np.abs(np.concatenate([np.empty(0), *(np.asarray(one, np.float64).ravel() for one in maps)]))
    sizes = sizes[np.isfinite(sizes)]
    if not sizes.any():
        return 1.0
    limit = float(np.percentile(sizes, 99))
    return limit if limit > 0 else float(sizes.max())


_LOG = logging.getLogger(__name__)
_MISSING = re.compile(r"Glyph (\d+) .*missing from font")


@contextmanager
def missing_glyphs_said_once() -> Iterator[None]:
    """Gather matplotlib's warnings about characters without a glyph into one that says what to do."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    numbers = set()
    for one in caught:
        match = _MISSING.match(str(one.message))
        if match is None:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
        else:
            numbers.add(int(match[1]))
    if numbers:
        shown = "".join(chr(number) for number in sorted(numbers)[:8])
        _LOG.warning(
            "%d characters are boxes in the figures: no installed font has %s%s; install one, such as Noto Sans",
            len(numbers), shown, "…" if len(numbers) > 8 else "",
        )  # fmt: skip
