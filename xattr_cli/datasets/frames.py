"""Checks of a pandas frame: a header that names every column once, numbers and nothing missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError

__all__ = ["check_header", "frame_numbers", "refuse_missing"]

_SHOWN = 5


def check_header(path: Path, names: Sequence[Any]) -> None:
    """Refuse a header in which a name is missing or doubled, as pandas would silently invent others.

    Raises:
        DataError: names the column.
    """
    named = [name for name in names if isinstance(name, str) and name]
    if len(named) < len(names):
        number = next(i for i, name in enumerate(names, 1) if not (isinstance(name, str) and name))
        raise DataError(
            f"dataset.path: {path}: column {number} has no name. If it is an index that pandas wrote, "
            "save the table with index=False."
        )
    doubled = sorted({name for name in named if named.count(name) > 1})
    if doubled:
        raise DataError(f"dataset.path: {path}: several columns are called {', '.join(map(repr, doubled))}.")


def refuse_missing(frame: Any, key: str) -> None:
    """Refuse missing values.

    Raises:
        DataError: names each column with the first rows where it has none.
    """
    missing = frame.isna().to_numpy()
    if not missing.any():
        return
    told = []
    for name, gaps in zip(frame.columns, missing.T, strict=True):
        rows = np.flatnonzero(gaps)
        if rows.size:
            more = f" and {rows.size - _SHOWN} more" if rows.size > _SHOWN else ""
            told.append(f"{name!r} in row {', '.join(str(row) for row in rows[:_SHOWN])}{more}")
    raise DataError(
        f"{key}: values are missing (rows count from 0 below the header): {'; '.join(told)}. "
        "Fill or remove them, or leave the column out with dataset.exclude."
    )


def frame_numbers(frame: Any, key: str) -> np.ndarray:
    """Values of a frame as (rows, columns) float64.

    Raises:
        DataError: names the columns that are not numeric, or have missing values.
    """
    wrong = [name for name in frame.columns if frame[name].dtype.kind not in "buif"]
    if wrong:
        told = ", ".join(f"{name!r} (such as {frame[name].iloc[0]!r})" for name in wrong if len(frame))
        raise DataError(
            f"{key}: not numeric: {told or wrong}. Encode them as numbers as in training, "
            "or leave them out with dataset.exclude."
        )
    refuse_missing(frame, key)
    values: np.ndarray = frame.to_numpy(dtype=np.float64)
    return values
