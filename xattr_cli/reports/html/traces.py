"""Small charts as geometry for SVG: sequences as lines coloured by attribution, curves over the path, bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.colors import to_hex

from ..drawing.style import diverging_map
from ..drawing.words import number

__all__ = ["Bar", "Bars", "Curve", "Lines", "Trace", "bars", "curve", "lines"]

WIDTH, HEIGHT = 320, 46  # units of the drawing of one trace
_MOST_POINTS, _MOST_STOPS = 640, 120
_ZERO = 0.12  # no share of the scale is paler: a line must be seen where it has no part


@dataclass(frozen=True)
class Trace:
    """One feature of a sequence over its steps.

    Attributes:
        name: of the feature.
        points: of a polyline.
        stops: (offset, colour) of the gradient along it.
        low, high: values at the bottom and at the top.
    """

    name: str
    points: str
    stops: tuple[tuple[str, str], ...]
    low: str
    high: str


@dataclass(frozen=True)
class Lines:
    """A sequence: the traces of the features that matter most, and how many are not shown."""

    traces: tuple[Trace, ...]
    steps: int
    others: int
    kind: str = "lines"
    width: int = WIDTH
    height: int = HEIGHT


def lines(values: np.ndarray, maps: np.ndarray, limit: float, names: Sequence[str], most: int) -> Lines:
    """The features of a sequence as lines, those of the largest attributions first.

    Arguments:
        values: (steps, features) of the input; without it, the map itself makes the lines.
        maps: (steps, features) attributions.
        limit: where colours end.
        names: of the features.
        most: how many features are shown.
    """
    order = np.argsort(-np.nan_to_num(np.abs(maps)).sum(axis=0), kind="stable")[:most]
    traces = tuple(_trace(names[k], values[:, k], maps[:, k] / limit) for k in order)
    return Lines(traces, len(values), maps.shape[1] - len(order))


def _trace(name: str, values: np.ndarray, shares: np.ndarray) -> Trace:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
    return Trace(name, _points(values, low, high), _stops(shares), number(low), number(high))


def _points(values: np.ndarray, low: float, high: float) -> str:
    """Of long sequences the lowest and the highest value of every block, in order, so that no peak is lost."""
    steps = np.arange(len(values))
    if len(values) > _MOST_POINTS:
        blocks = np.array_split(steps, _MOST_POINTS // 2)
        ends = [sorted({int(b[np.argmin(values[b])]), int(b[np.argmax(values[b])])}) for b in blocks]
        steps = np.array([step for pair in ends for step in pair])
    x = WIDTH * (steps + 0.5) / len(values)
    y = HEIGHT - 4 - (HEIGHT - 8) * (values[steps] - low) / (high - low or 1.0)
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True) if np.isfinite(b))


def _stops(shares: np.ndarray) -> tuple[tuple[str, str], ...]:
    """Colours of single steps with sharp edges; of long sequences, of the strongest step of every block."""
    shares = np.nan_to_num(shares)
    edges = np.linspace(0, len(shares), min(len(shares), _MOST_STOPS) + 1).astype(int)
    blocks = list(pairwise(edges.tolist()))
    strongest = [shares[i:j][np.argmax(np.abs(shares[i:j]))] for i, j in blocks]
    is_long = len(blocks) > _MOST_STOPS // 2
    places = [((i + j) / 2,) if is_long else (i, j) for i, j in blocks]
    return tuple(
        (f"{at / len(shares):.4f}", _colour(float(share)))
        for ends, share in zip(places, strongest, strict=True)
        for at in ends
    )


def _colour(share: float) -> str:
    if abs(share) < _ZERO / 2:
        return "#e4e4e4"
    return str(to_hex(diverging_map()(0.5 + 0.5 * float(np.clip(share, -1, 1)))))


@dataclass(frozen=True)
class Curve:
    """A curve over the path, from the baseline (0) to the input (1)."""

    points: str
    low: str
    high: str
    start: str
    end: str
    width: int = 160
    height: int = 60


def curve(alpha: np.ndarray, values: np.ndarray) -> Curve | None:
    """The curve of a score; None if it is not finite."""
    if not np.isfinite(values).all():
        return None
    low, high = float(values.min()), float(values.max())
    y = 55 - 50 * (values - low) / (high - low or 1.0)
    points = " ".join(f"{2 + 156 * a:.1f},{b:.1f}" for a, b in zip(alpha, y, strict=True))
    return Curve(points, number(low), number(high), number(float(values[0])), number(float(values[-1])))


@dataclass(frozen=True)
class Bar:
    """One bar: from zero in the middle, with its error.

    Attributes:
        name, value: of a feature, and its value in the input, '' if it is not known.
        amount, error: of the attribution, in words; no error is ''.
        x, width, low, high: of the bar and of its error bar, in hundredths of the field.
        raises: whether it raises the score.
    """

    name: str
    value: str
    amount: str
    error: str
    x: str
    width: str
    low: str
    high: str
    raises: bool


@dataclass(frozen=True)
class Bars:
    """Bars below each other."""

    bars: tuple[Bar, ...]
    kind: str = "bars"


def bars(names: Sequence[str], values: Sequence[str], amounts: np.ndarray, errors: np.ndarray) -> Bars:
    """Bars of one scale.

    Arguments:
        names, values: (n,) texts.
        amounts, errors: (n,) attributions, and their errors, NaN where unknown.
    """
    known = np.nan_to_num(errors)
    limit = float(np.max(np.abs(amounts) + known, initial=0.0)) or 1.0

    def place(amount: float) -> str:
        return f"{50 + 49 * float(np.clip(amount / limit, -1, 1)):.1f}"

    found = [
        Bar(
            name, value, number(amount), number(error) if error else "", place(min(amount, 0.0)),
            f"{49 * abs(amount) / limit:.1f}", place(amount - error), place(amount + error), amount >= 0,
        )
        for name, value, amount, error in zip(names, values, amounts.tolist(), known.tolist(), strict=True)
    ]  # fmt: skip
    return Bars(tuple(found))
