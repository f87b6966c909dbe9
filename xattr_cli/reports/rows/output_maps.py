"""Attributions of the output tokens of a continuation to the tokens before them: a matrix a sample and engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.sheet import by_unit
from ..drawing.style import symmetric_limit
from .token_rows import TokenReader, is_text
from .token_words import pieces_of

__all__ = ["OutputMap", "OutputReader"]


@dataclass(frozen=True)
class OutputMap:
    """What one engine says about the output tokens of a sample.

    Attributes:
        engine: that said it.
        rows: (outputs,) int64, positions of the rows in the file.
        outputs: what each of them explains.
        tokens: of the prompt, and of what stands before the output tokens if that is explained.
        parts: name of each explained tensor and the column that it begins at.
        values: (outputs, tokens) attributions; NaN in quarantined rows.
        limit: value at which colours end, the same for all engines whose maps are in one unit.
    """

    engine: EngineResults
    rows: np.ndarray
    outputs: tuple[str, ...]
    tokens: tuple[str, ...]
    parts: tuple[tuple[str, int], ...]
    values: np.ndarray
    limit: float


class OutputReader:
    """Output tokens of the samples of a file.

    Arguments:
        results: the file.
        engines: whose maps are shown.
    """

    def __init__(self, results: Results, engines: Sequence[EngineResults]) -> None:
        self.results = results
        self.units = [unit for unit in by_unit([e for e in engines if e.tensors]) if unit]
        tensors = [name for name in results.explained if is_text(results, name)] if len(results.outputs) else []
        self.readers = {name: TokenReader(results, name, engines) for name in tensors}

    @property
    def samples(self) -> list[int]:
        """Those whose tokens are in the file, in its order."""
        rows = dict.fromkeys(self.results.rows.sample.tolist())
        return [sample for sample in rows if sample in self.results.stored] if self.readers else []

    def maps(self, sample: int) -> Iterator[OutputMap]:
        """The matrices of a sample, engines in one unit after each other."""
        rows = np.flatnonzero(self.results.rows.sample == sample)
        names = [str(name) for name in self.results.outputs[rows]]
        outputs = tuple(piece.text for piece in pieces_of(names, next(iter(self.readers.values())).spelling))
        pieces = {name: reader.pieces(int(rows[0])) for name, reader in self.readers.items()}
        tokens = tuple(piece.text for part in pieces.values() for piece in part)
        starts = np.cumsum([0, *map(len, pieces.values())]).tolist()
        for unit in self.units:
            values = [self._values(engine, rows) for engine in unit]
            limit = symmetric_limit(*values)
            for engine, matrix in zip(unit, values, strict=True):
                yield OutputMap(
                    engine, rows, outputs, tokens, tuple(zip(pieces, starts[:-1], strict=True)), matrix, limit
                )

    def _values(self, engine: EngineResults, rows: np.ndarray) -> np.ndarray:
        parts = [
            reader.per_token(engine.reduced(rows.tolist(), name), int(rows[0]))
            for name, reader in self.readers.items()
        ]
        return np.concatenate(parts, axis=1)
