"""Which rows of result files explain the same output of the same sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...store.results.reader import Results

__all__ = ["Matching", "match", "sample_names"]


@dataclass(frozen=True)
class Matching:
    """Rows that several files have in common.

    Attributes:
        rows: per file, (matched,) int64 positions; entries at the same place are of the same sample and output.
        samples: per file, (same samples,) int64 positions of the first row of every sample that all files have.
        by: "key" if samples are known by name, "sample" if by number.
    """

    rows: tuple[np.ndarray, ...]
    samples: tuple[np.ndarray, ...]
    by: str

    def __len__(self) -> int:
        return len(self.rows[0])


def match(files: Sequence[Results]) -> Matching:
    """Match the rows of files: by the names of samples where all files have unique ones, else by their numbers.

    Arguments:
        files: open files, at least one.
    """
    names = [_keys(file) for file in files]
    by = "key" if all(each is not None for each in names) else "sample"
    known = [
        each if by == "key" and each is not None else file.rows.sample
        for each, file in zip(names, files, strict=True)
    ]
    rows = [
        _first(zip(each.tolist(), file.rows.target.tolist(), strict=True))
        for each, file in zip(known, files, strict=True)
    ]
    samples = [_first(each.tolist()) for each in known]
    return Matching(_common(rows), _common(samples), by)


def sample_names(file: Results, rows: np.ndarray) -> list[str]:
    """What to call the samples of some rows in a table."""
    samples = file.rows.sample[rows]
    keys = file.keys_of(samples) if file.has_keys else [""] * len(samples)
    return [key or str(sample) for key, sample in zip(keys, samples, strict=True)]


def _keys(file: Results) -> np.ndarray | None:
    """A name for every row's sample; None if some have none, or two samples share one."""
    if not file.has_keys:
        return None
    names = file.keys_of(file.rows.sample)
    pairs = set(zip(names.tolist(), file.rows.sample.tolist(), strict=True))
    is_unique = len({name for name, _ in pairs}) == len(pairs)
    return names if is_unique and all(names) else None


def _first(keys: Any) -> dict[Any, int]:
    """Key → the first place that has it."""
    first: dict[Any, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    return first


def _common(places: Sequence[dict[Any, int]]) -> tuple[np.ndarray, ...]:
    first, *others = places
    shared = [key for key in first if all(key in other for other in others)]
    return tuple(np.array([each[key] for key in shared], np.int64) for each in places)
