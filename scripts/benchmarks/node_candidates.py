"""Every placement of nodes that was tried, with what can be said of it beside its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from torch import Tensor

from scripts.benchmarks.node_panels import Panelled
from scripts.benchmarks.node_paths import PHOTOGRAPHS, Paths
from scripts.benchmarks.node_rows import Cells, Levels, Stopped
from scripts.benchmarks.node_rules import (
    Bar,
    Placement,
    clenshaw_curtis,
    gap,
    gauss,
    midpoint,
    own_count,
    placed,
    second_differences,
    simpson,
    since_last_level,
    trapezoid,
)

__all__ = ["ADOPTED", "CANDIDATES", "LIMIT", "Candidate", "Stopping"]

PILOT = 8


class Stopping(Protocol):
    """A rule by which rows stop alone."""

    def run(self, paths: Paths, rtol: float) -> Stopped:
        """Stop every row by its own word."""


@dataclass(frozen=True)
class Candidate:
    """A placement of nodes: either a rule of a size, or one by which rows stop alone.

    Attributes:
        name: in the tables.
        word: on why it was adopted or not.
        fixed: the rule of a size, the same for all rows.
        sizes: that are tried, from the smallest on.
        stopping: by its own error bar.
        unknown_to: networks on which it cannot be simulated.
    """

    name: str
    word: str = ""
    fixed: Placement | None = None
    sizes: Sequence[int] = tuple(range(1, 161))
    stopping: Stopping | None = None
    unknown_to: Sequence[str] = ()


def _pilot(paths: Paths) -> Tensor:
    return paths.jumps[:PILOT].mean(dim=0, keepdim=True)


def _all_jumps(paths: Paths) -> Tensor:
    return paths.jumps.mean(dim=0, keepdim=True)


def _all_bends(paths: Paths) -> Tensor:
    return paths.bends.mean(dim=0, keepdim=True)


def _own(paths: Paths) -> Tensor:
    return paths.jumps


EVEN = tuple(range(2, 161, 2))
DOUBLING = tuple(4 * 2**k for k in range(8))
HALF_MORE = (4, 6, 9, 12, 18, 24, 36, 48, 72, 96, 144, 192, 288, 384)
SIXES = tuple(range(6, 150, 6))
FITTED = partial(placed, _pilot)
SQUARE = partial(trapezoid, power=2.0)
SEEN = partial(second_differences, power=2.0)

BLIND = "nobody knows how many nodes it takes"
KNOWS = "knows the rows"
KEEPS = "keeps the gradient of every node"

ADOPTED = Candidate(
    "the adopted rule: 6 panels in u²",
    "needs one sum for each panel, whatever the number of nodes",
    stopping=Panelled(),
)
LIMIT = Candidate(
    "own density and number of nodes, known beforehand (limit)", "knows the row", own_count, range(4, 161)
)

MIDDLES = partial(midpoint, power=2.0)
SIMPSON = partial(simpson, power=2.0)

FIXED = (
    Candidate("trapezoid in t", BLIND, trapezoid),
    Candidate("midpoint in t", BLIND, midpoint),
    Candidate("trapezoid in u^1.5", BLIND, partial(trapezoid, power=1.5)),
    Candidate("trapezoid in u²", BLIND, SQUARE),
    Candidate("trapezoid in u³", BLIND, partial(trapezoid, power=3.0)),
    Candidate("midpoint in u²", BLIND, MIDDLES),
    Candidate("Simpson in t", BLIND, simpson, EVEN),
    Candidate("Simpson in u²", BLIND, SIMPSON, EVEN),
    Candidate("Gauss–Legendre in t (captum)", BLIND, gauss),
    Candidate("Gauss–Legendre in u²", BLIND, partial(gauss, power=2.0)),
    Candidate("Clenshaw–Curtis in t", BLIND, clenshaw_curtis, EVEN),
    Candidate("density of squared jumps, of a pilot of 8 rows", f"{BLIND}; the pilot is not counted", FITTED),
    Candidate("density of squared jumps, of all rows", KNOWS, partial(placed, _all_jumps)),
    Candidate("density of second derivatives, of all rows", KNOWS, partial(placed, _all_bends)),
    Candidate("own density, known beforehand", KNOWS, partial(placed, _own)),
    LIMIT,
)


def _levels(
    name: str,
    word: str,
    rule: Placement,
    bar: Bar,
    sizes: Sequence[int] = DOUBLING,
    *,
    jump: bool = False,
    unknown_to: Sequence[str] = (),
) -> Candidate:
    return Candidate(name, word, stopping=Levels(rule, sizes, bar, jump), unknown_to=unknown_to)


LEVELS = (
    _levels("trapezoid in t, doubled from 4", "", trapezoid, second_differences),
    _levels("trapezoid in u², doubled from 4", "the former rule", SQUARE, SEEN),
    _levels("trapezoid in u², levels × 1.5", "half of the levels reuse little", SQUARE, SEEN, HALF_MORE),
    _levels(
        "trapezoid in u², at the predicted multiple of 6",
        "few nodes predict badly",
        SQUARE,
        SEEN,
        SIXES,
        jump=True,
    ),
    _levels("midpoint in u², doubled from 4", "no node is used again", MIDDLES, since_last_level),
    _levels("Simpson in t, doubled from 4", "", simpson, since_last_level),
    _levels("Simpson in u², doubled from 4", "", SIMPSON, since_last_level),
    _levels("Clenshaw–Curtis in t, doubled from 4", "", clenshaw_curtis, since_last_level),
    _levels(
        "Gauss–Legendre in t, doubled until the gap closes",
        "the gap is not the error",
        gauss,
        gap,
        unknown_to=(PHOTOGRAPHS,),
    ),
)

PANELS = (
    ADOPTED,
    Candidate("6 panels in u², as many as should do", stopping=Panelled(share=1.0)),
    Candidate("6 panels in u², those with 80 % of the error", stopping=Panelled(share=0.8)),
    Candidate("6 panels in u², those with half of the error", stopping=Panelled(share=0.5)),
    Candidate("6 panels in u², one after the other", "many small calls", stopping=Panelled(share=0.0)),
    Candidate("4 panels in u²", stopping=Panelled(4)),
    Candidate("4 panels in u², those with half of the error", stopping=Panelled(4, share=0.5)),
    Candidate("8 panels in u²", stopping=Panelled(8)),
    Candidate("8 panels in u², those with half of the error", stopping=Panelled(8, share=0.5)),
    Candidate(
        "16 panels in u², those with half of the error",
        "twice the sums a row",
        stopping=Panelled(16, share=0.5, panels=16),
    ),
    Candidate("6 panels in t", stopping=Panelled(warp=1.0)),
    Candidate("6 panels in u^1.5", stopping=Panelled(warp=1.5)),
    Candidate("6 panels in u³", stopping=Panelled(warp=3.0)),
    Candidate(
        "6 panels of the pilot's density", "the pilot is not counted", stopping=Panelled(warp=1.0, fitted=FITTED)
    ),
)

CELLS = (
    Candidate("cells in u², one after the other", f"{KEEPS}; many small calls", stopping=Cells(6, share=0.0)),
    Candidate("cells in u², those with half of the error", KEEPS, stopping=Cells(6, share=0.5)),
    Candidate("cells in u², as many as should do", KEEPS, stopping=Cells(6, share=1.0)),
)

CANDIDATES = FIXED + LEVELS + PANELS + CELLS
"""In the order of the tables; a power of u is that of t."""
