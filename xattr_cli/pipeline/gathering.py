"""Columns of a part, gathered from pieces of its rows without being held twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..store import Column

__all__ = ["Gathered"]


class Gathered:
    """Columns of consecutive pieces, end to end; those that are the same for all rows are taken once.

    Arguments:
        rows: of all pieces together.
    """

    def __init__(self, rows: int) -> None:
        self._rows, self._done = rows, 0
        self._columns: dict[str, Column] = {}
        self._pieces: dict[str, list[np.ndarray]] = {}

    def add(self, piece: Mapping[str, Column]) -> None:
        """The next piece.

        Raises:
            MemoryError: there is no room for all rows.
        """
        count = next((len(column.values) for column in piece.values() if column.axis == "rows"), 0)
        for name, column in piece.items():
            if column.axis == "rows" and count < self._rows and column.values.dtype.kind not in "OU":
                self._place(name, column, slice(self._done, self._done + count))
                continue
            self._columns.setdefault(name, column)
            if column.axis in ("rows", "samples"):
                self._pieces.setdefault(name, []).append(column.values)
        self._done += count

    def columns(self) -> dict[str, Column]:
        """Of all pieces."""
        joined = {
            name: replace(self._columns[name], values=np.concatenate(pieces))
            for name, pieces in self._pieces.items()
            if len(pieces) > 1
        }
        return {**self._columns, **joined}

    def _place(self, name: str, column: Column, where: slice) -> None:
        if name not in self._columns:
            room = np.empty((self._rows, *column.values.shape[1:]), column.values.dtype)
            self._columns[name] = replace(column, values=room)
        self._columns[name].values[where] = column.values
