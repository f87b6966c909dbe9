"""How the map of a row is shown in a page: as a picture, a text, a molecule, lines, or bars."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.importance import attribution_errors
from ..drawing.pictures import is_vector
from ..drawing.sequences import Steps
from ..drawing.sheet import by_unit
from ..drawing.style import symmetric_limit
from ..drawing.words import displayed_feature_names, number, shorten
from ..rows.token_rows import TokenReader
from .images import Picture, heat_map, photograph_uri, picture
from .traces import Bars, Lines, bars, lines

__all__ = [
    "LEVELS", "BarsView", "LinesView", "Molecule", "PictureView", "Shown", "Tokens", "TokensView", "View", "level"
]  # fmt: skip

LEVELS = 20
"""Colours of each sign that tokens can have."""

_TOP, _MOST_TRACES, _NAME_WIDTH = 8, 6, 40


@dataclass(frozen=True)
class Tokens:
    """Tokens of a text: (colour, number, text, whether it stands at the one before without a space)."""

    pieces: tuple[tuple[int, str, str, bool], ...]
    kind: str = "tokens"


@dataclass(frozen=True)
class Molecule:
    """A molecule with coloured atoms and bonds, and what is said below it."""

    source: str
    smiles: str
    note: str
    kind: str = "molecule"


@dataclass(frozen=True)
class Shown:
    """What a row's map looks like.

    Attributes:
        looks: one or more views of the same map.
        limit: where colours end, in words; '' if there are none.
    """

    looks: tuple[Picture | Tokens | Molecule | Lines | Bars, ...]
    limit: str = ""


def level(share: float) -> int:
    """Number of the colour of a share of the scale, -1 to 1."""
    return round(LEVELS * float(np.clip(np.nan_to_num(share), -1, 1)))


class View(ABC):
    """How one explained tensor is shown, for the engines that explain it."""

    def __init__(self, results: Results, tensor: str, engines: Sequence[EngineResults]) -> None:
        self.results = results
        self.tensor = tensor
        self.units = by_unit(engines)

    def input(self, row: int) -> str:
        """Data URI of the input as a picture of its own; '' where it is no picture, or not stored."""
        return ""

    def maps(self, row: int, least: Mapping[str, float] | None = None) -> dict[str, Shown]:
        """Label of an engine -> its map; without quarantined ones. Maps in one unit share their colours.

        Arguments:
            row: its position.
            least: label of an engine -> where its colours end at the earliest; of `limits` of another file.
        """
        shown: dict[str, Shown] = {}
        for unit in self.units:
            values = self._finite(unit, row)
            limit = max(symmetric_limit(*values.values()), *((least or {}).get(e.label, 0.0) for e in unit))
            shown |= {engine.label: self.show(engine, row, one, limit) for engine, one in values.items()}
        return shown

    def limits(self, row: int) -> dict[str, float]:
        """Label of an engine -> where its colours end in a row; without engines whose maps are zero."""
        ends: dict[str, float] = {}
        for unit in self.units:
            values = self._finite(unit, row)
            if any(one.any() for one in values.values()):
                ends |= dict.fromkeys((engine.label for engine in values), symmetric_limit(*values.values()))
        return ends

    def _finite(self, unit: Sequence[EngineResults], row: int) -> dict[EngineResults, np.ndarray]:
        """What is coloured of a row, of each engine that has a map of it."""
        good = [engine for engine in unit if engine.status[row] != Status.QUARANTINED]
        return {engine: self.values(engine, row) for engine in good}

    def values(self, engine: EngineResults, row: int) -> np.ndarray:
        """(...) float64 attributions as they are coloured."""
        return np.asarray(engine.attribution([row], self.tensor)[0], np.float64)

    @abstractmethod
    def show(self, engine: EngineResults, row: int, values: np.ndarray, limit: float) -> Shown:
        """What one map looks like.

        Arguments:
            values: of `values`.
            limit: where colours end.
        """

    def mean(self, values: np.ndarray, limit: float) -> Picture | Lines | Bars | None:
        """What a mean map (*shape) of many rows looks like; None where rows have no features in common."""
        return None

    def original(self, row: int) -> np.ndarray | None:
        """(*shape) the row's input in original units; None if it is not stored or is no input."""
        sample, source = int(self.results.rows.sample[row]), self.results.inputs.get(self.tensor)
        if source is None or sample not in source.stored or source.shape != self._shape:
            return None
        return self.results.original(self.tensor, sample)

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        return self.units[0][0].tensors[self.tensor]


class PictureView(View):
    """Images, upright: layers of both signs over the input."""

    def input(self, row: int) -> str:
        values = self.original(row)
        return "" if values is None else photograph_uri(values)

    def values(self, engine: EngineResults, row: int) -> np.ndarray:
        values = super().values(engine, row)
        return values.sum(axis=0) if values.ndim == 3 else values

    def mean(self, values: np.ndarray, limit: float) -> Picture:
        return picture(values.sum(axis=0) if values.ndim == 3 else values, limit, "")

    def show(self, engine: EngineResults, row: int, values: np.ndarray, limit: float) -> Shown:
        # the page has the input once and lays it below every map of its row
        source = "input" if self.original(row) is not None else ""
        return Shown((picture(values, limit, source),), number(limit))


class LinesView(View):
    """Sequences and waveforms: features as lines over the steps, and as a heat map if there are several."""

    def __init__(self, results: Results, tensor: str, engines: Sequence[EngineResults]) -> None:
        super().__init__(results, tensor, engines)
        self.steps = Steps(results, tensor, engines[0])

    def values(self, engine: EngineResults, row: int) -> np.ndarray:
        return self.steps.attribution(engine, row)

    def show(self, engine: EngineResults, row: int, values: np.ndarray, limit: float) -> Shown:
        inputs = self.steps.input(row)
        drawn = self._lines(values if inputs is None else inputs, values, limit)
        looks: tuple[Lines | Picture, ...] = (drawn,)
        if values.shape[1] > 1:
            looks = (drawn, heat_map(values.T, limit))
        return Shown(looks, number(limit))

    def mean(self, values: np.ndarray, limit: float) -> Lines | None:
        upright = self.steps.upright(values)
        return None if self.steps.is_padded else self._lines(upright, upright, limit)

    def _lines(self, values: np.ndarray, maps: np.ndarray, limit: float) -> Lines:
        return lines(values, maps, limit, self.steps.names(maps.shape[1]), _MOST_TRACES)


class BarsView(View):
    """Tables, and whatever has no other look: the largest attributions as bars with errors."""

    def values(self, engine: EngineResults, row: int) -> np.ndarray:
        return super().values(engine, row).ravel()

    def show(self, engine: EngineResults, row: int, values: np.ndarray, limit: float) -> Shown:
        errors = attribution_errors(engine, self.tensor, [row], values[None])[0] if self._is_table else values * 0
        return Shown((self._bars(values, errors, self.original(row) if self._is_table else None),))

    def mean(self, values: np.ndarray, limit: float) -> Bars | None:
        source = self.results.inputs.get(self.tensor)
        is_ragged = source is not None and source.is_padded
        return None if is_ragged else self._bars(values.ravel(), np.zeros(values.size), None)

    def _bars(self, values: np.ndarray, errors: np.ndarray, inputs: np.ndarray | None) -> Bars:
        order = np.argsort(-np.abs(values), kind="stable")[:_TOP]
        texts = ["" if inputs is None else number(float(inputs[k])) for k in order]
        names = [shorten(self._name(int(k)), _NAME_WIDTH) for k in order]
        shown, sure = values[order], errors[order]
        if len(values) > len(order):
            rest = np.setdiff1d(np.arange(len(values)), order)
            names, texts = [*names, f"sum of {len(rest)} other{'s' if len(rest) > 1 else ''}"], [*texts, ""]
            shown = np.r_[shown, values[rest].sum()]
            sure = np.r_[sure, np.linalg.norm(np.nan_to_num(errors[rest]))]
        return bars(names, texts, shown, sure)

    @property
    def _is_table(self) -> bool:
        return is_vector(self._shape)

    def _name(self, place: int) -> str:
        if self._is_table:
            return displayed_feature_names(self.results, self.tensor, self._shape[0])[place]
        return ", ".join(str(int(axis)) for axis in np.unravel_index(place, self._shape))


class TokensView(View):
    """Texts with coloured tokens."""

    def __init__(self, results: Results, tensor: str, engines: Sequence[EngineResults]) -> None:
        super().__init__(results, tensor, engines)
        self.reader = TokenReader(results, tensor, engines)

    def values(self, engine: EngineResults, row: int) -> np.ndarray:
        return np.asarray(self.reader.per_token(engine.reduced([row], self.tensor), row)[0])

    def maps(self, row: int, least: Mapping[str, float] | None = None) -> dict[str, Shown]:
        return super().maps(row, least) if self.reader.pieces(row) else {}

    def limits(self, row: int) -> dict[str, float]:
        return super().limits(row) if self.reader.pieces(row) else {}

    def show(self, engine: EngineResults, row: int, values: np.ndarray, limit: float) -> Shown:
        pieces = tuple(
            (level(value / limit), number(value), piece.text, piece.is_glued or not place)
            for place, (piece, value) in enumerate(zip(self.reader.pieces(row), values.tolist(), strict=True))
        )
        return Shown((Tokens(pieces),), number(limit))
