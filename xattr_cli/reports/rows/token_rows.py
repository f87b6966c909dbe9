"""The tokens of a row with their attributions, one column per engine; padding is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.selection import spread
from ..drawing.sheet import by_unit
from ..drawing.style import symmetric_limit
from .molecule_maps import SMILES, names_atoms
from .token_words import Piece, Spelling, pieces_of, spelling_of

__all__ = ["TokenMap", "TokenReader", "has_tokens", "is_text"]

_READ_FOR_SPELLING = 64


@dataclass(frozen=True)
class TokenMap:
    """What one engine says about the tokens of a row.

    Attributes:
        engine: that said it.
        values: (tokens,) attributions; None if the row is quarantined.
        limit: value at which colours end, the same for all engines whose maps are in one unit.
    """

    engine: EngineResults
    values: np.ndarray | None
    limit: float

    @property
    def shares(self) -> np.ndarray:
        """(tokens,) places on the scale of colours, 0 to 1; empty if the row is quarantined."""
        if self.values is None:
            return np.empty(0)
        return 0.5 + 0.5 * np.clip(self.values / self.limit, -1, 1)

    def strongest(self, count: int) -> list[int]:
        """Places of the largest attributions by size, none of them zero."""
        if self.values is None:
            return []
        order = np.argsort(-np.abs(self.values), kind="stable")[:count]
        return [int(place) for place in order if self.values[place] != 0]


class TokenReader:
    """Tokens and maps of the rows of a file.

    Arguments:
        results: the file.
        tensor: whose steps are tokens.
        engines: that explain it.
    """

    def __init__(self, results: Results, tensor: str, engines: Sequence[EngineResults]) -> None:
        self.results = results
        self.tensor = tensor
        self.units = by_unit(engines)
        self.spelling = self._spelling()

    def pieces(self, row: int) -> list[Piece]:
        """The tokens of a row, without padding; empty if the sample is not stored."""
        sample = int(self.results.rows.sample[row])
        if sample not in self.results.stored:
            return []
        return pieces_of(self.results.inputs[self.tensor].tokens(sample), self.spelling)

    def maps(self, row: int) -> list[TokenMap]:
        """The attributions of the tokens of a row, engines in one unit beside each other."""
        token_maps = []
        for engines in self.units:
            maps = [self._values(engine, row) for engine in engines]
            limit = symmetric_limit(*(values for values in maps if values is not None))
            token_maps += [TokenMap(engine, values, limit) for engine, values in zip(engines, maps, strict=True)]
        return token_maps

    def _values(self, engine: EngineResults, row: int) -> np.ndarray | None:
        if engine.status[row] == Status.QUARANTINED:
            return None
        per_token: np.ndarray = self.per_token(engine.reduced([row], self.tensor), row)[0]
        return per_token

    def per_token(self, values: np.ndarray, row: int) -> np.ndarray:
        """(k, tokens) sums of values (k, steps, ...) of a row over all but the tokens, without padding."""
        sums: np.ndarray = values.astype(np.float64).reshape(*values.shape[:2], -1).sum(axis=2)
        real = self.results.inputs[self.tensor].real([int(self.results.rows.sample[row])])
        return sums if real is None else sums[:, real[0]]

    def _spelling(self) -> Spelling:
        read = self.results.inputs[self.tensor].tokens
        samples = spread(list(self.results.stored), _READ_FOR_SPELLING)
        return spelling_of(token for sample in samples for token in read(sample))


def has_tokens(results: Results, tensor: str) -> bool:
    """Whether the steps of a tensor have names in the file."""
    return bool(_first_tokens(results, tensor))


def is_text(results: Results, tensor: str) -> bool:
    """Whether the steps of a tensor have names and are not the atoms or bonds of a molecule."""
    names = _first_tokens(results, tensor)
    return bool(names) and not (SMILES in results.sample_texts and names_atoms(names))


def _first_tokens(results: Results, tensor: str) -> tuple[str, ...]:
    source, first = results.inputs.get(tensor), next(iter(results.stored), None)
    return () if source is None or first is None else source.tokens(first)
