"""The matrices of a second-order engine: interactions of features or groups of them, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import h5py
import numpy as np

from .arrays import RowChoice, dataset, read_rows, row_blocks, texts

__all__ = ["InteractionResults"]

_PER_ROW = (
    "interaction", "interaction_error", "interaction_gap", "nodes", "row_sum_gap", "segments",
    "smoothing_drift", "smoothing_drift_baseline", "top",
)  # fmt: skip
REST = "rest"


class InteractionResults:
    """Interactions Γ of every row.

    Attributes:
        replaced, repaired: what was done to the network so that second derivatives exist; empty if nothing.
    """

    def __init__(self, group: h5py.Group) -> None:
        self._group = group
        self.replaced = texts(group, "replaced")
        self.repaired = texts(group, "repaired")

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a matrix."""
        rows, columns = dataset(self._group, "interaction").shape[1:]
        return int(rows), int(columns)

    @property
    def is_square(self) -> bool:
        """Whether rows and columns are the same groups; else the matrices are single rows."""
        return "row_groups" not in self._group

    @property
    def chosen_per_row(self) -> bool:
        """Whether every row has groups of its own: the top ones by attribution, or superpixels."""
        return "top" in self._group or "segments" in self._group

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of all groups; with `top`, more than there are columns."""
        return texts(self._group, "groups")

    @cached_property
    def group_of(self) -> np.ndarray | None:
        """(D,) int64, number of the group of each coordinate of a flat row; None if rows differ in it."""
        return read_rows(dataset(self._group, "group_of"), slice(None)) if "group_of" in self._group else None

    def segments(self, row: int) -> np.ndarray | None:
        """(height, width) superpixel of every pixel of a row's image; None if the groups are none."""
        return read_rows(dataset(self._group, "segments"), [row])[0] if "segments" in self._group else None

    def columns(self, row: int) -> tuple[str, ...]:
        """Names of the columns of a row's matrix."""
        if "top" not in self._group:
            return self.groups
        top = read_rows(dataset(self._group, "top"), [row])[0]
        names = tuple(self.groups[number] for number in top)
        return (*names, REST)[: self.shape[1]]

    def rows(self, row: int) -> tuple[str, ...]:
        """Names of the rows of a row's matrix."""
        return self.columns(row) if self.is_square else texts(self._group, "row_groups")

    def matrix(self, rows: RowChoice) -> np.ndarray:
        """(chosen rows, *shape), Γ; NaN in quarantined rows."""
        return read_rows(dataset(self._group, "interaction"), rows)

    def standard_error(self, rows: RowChoice) -> np.ndarray | None:
        """(chosen rows, *shape) standard error of `matrix`; None if the method has none."""
        if "interaction_error" not in self._group:
            return None
        return read_rows(dataset(self._group, "interaction_error"), rows)

    def row_sum_gap(self, rows: RowChoice) -> np.ndarray:
        """(chosen rows, matrix rows), by how much a row of the matrix misses the attribution of its group."""
        return read_rows(dataset(self._group, "row_sum_gap"), rows)

    def drift(self, rows: RowChoice) -> np.ndarray | None:
        """(chosen rows,), by how much smoothing has changed the score of the input; None if there was none."""
        if "smoothing_drift" not in self._group:
            return None
        return read_rows(dataset(self._group, "smoothing_drift"), rows)

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """All matrices, in slices of at most 32 MiB (and at least one row)."""
        return row_blocks(dataset(self._group, "interaction"))

    def row_arrays(self) -> Iterator[h5py.Dataset]:
        """Every array with one entry per row."""
        for name in _PER_ROW:
            if name in self._group:
                yield dataset(self._group, name)
