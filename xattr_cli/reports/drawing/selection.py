"""Which engines and rows of a file are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ...errors import JobError, suggestion
from ...store.results.engines import EngineResults
from ...store.results.reader import EffectResults, Results

__all__ = ["Animation", "Document", "Drawing", "Nothing", "Selection", "paged", "select", "spread", "tensors_of"]

_TARGETS_PER_SAMPLE = 3


@dataclass(frozen=True)
class Drawing:
    """A finished figure and the stem of its file name."""

    stem: str
    figure: Figure


@dataclass(frozen=True)
class Animation:
    """Finished figures of one size that follow each other, for how many seconds each, and the stem of the file."""

    stem: str
    frames: tuple[Figure, ...]
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Document:
    """A finished HTML page and the stem of its file name."""

    stem: str
    html: str


@dataclass(frozen=True)
class Nothing:
    """Why a figure was not drawn."""

    reason: str


@dataclass(frozen=True)
class Selection:
    """What to draw of a file.

    Attributes:
        results: the open file.
        engines: the chosen engines that explain rows, in the order of the job.
        effects: the chosen engines that speak of the whole dataset.
        rows: positions in `results.rows` of the rows that are drawn one by one.
    """

    results: Results
    engines: tuple[EngineResults, ...]
    rows: np.ndarray
    effects: tuple[EffectResults, ...] = ()


def select(results: Results, engines: Sequence[str] | None, samples: int, rows: Sequence[int] | None) -> Selection:
    """Choose engines by label, and rows by number or evenly over the samples.

    Arguments:
        engines: labels; None for all.
        samples: how many samples to show if `rows` is None. They are spread evenly over those whose
            inputs are stored, since files are often sorted by class; of each, the three targets of the
            highest scores.
        rows: row numbers, as in `/rows/id`.

    Raises:
        JobError: an engine or a row that the file does not have.
    """
    known = list(dict.fromkeys([*results.engines, *results.effects]))
    chosen = known if engines is None else list(dict.fromkeys(engines))
    for label in chosen:
        if label not in known:
            raise JobError(f"{results.path}: no engine {label!r}.{suggestion(label, known)}")
    own = tuple(results.engines[label] for label in chosen if label in results.engines)
    places = _rows_of_samples(results, own, samples) if rows is None else _rows_by_number(results, rows)
    effects = tuple(results.effects[label] for label in chosen if label in results.effects)
    return Selection(results, own, places, effects)


def _rows_by_number(results: Results, rows: Sequence[int]) -> np.ndarray:
    places = {int(number): place for place, number in enumerate(results.rows.id)}
    for row in rows:
        if row not in places:
            ends = f"{min(places)} to {max(places)}" if places else "none"
            raise JobError(f"{results.path}: no row {row}. It has {len(places)} rows, numbered {ends}.")
    return np.array([places[row] for row in rows], np.int64)


def _rows_of_samples(results: Results, engines: Sequence[EngineResults], samples: int) -> np.ndarray:
    explained = results.rows.sample
    all_samples = list(dict.fromkeys(explained.tolist()))
    stored = [sample for sample in all_samples if sample in results.stored]
    places = [
        _highest_targets(np.flatnonzero(explained == sample), engines)
        for sample in spread(stored or all_samples, samples)
    ]
    return np.concatenate(places) if places else np.empty(0, np.int64)


def _highest_targets(rows: np.ndarray, engines: Sequence[EngineResults]) -> np.ndarray:
    if len(rows) <= _TARGETS_PER_SAMPLE or not engines:
        return rows[:_TARGETS_PER_SAMPLE]
    order = np.argsort(-engines[0].score_input[rows], kind="stable")
    return rows[order[:_TARGETS_PER_SAMPLE]]


def spread(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the values, evenly spread, in order, the first among them."""
    if len(values) <= count:
        return list(values)
    return [values[place] for place in np.linspace(0, len(values) - 1, count).round().astype(int)]


def paged(stem: str, rows: Sequence[int] | np.ndarray, most: int) -> Iterator[tuple[str, list[int]]]:
    """The rows of each page, at most `most`, with the stem of its file name: numbered if there are several."""
    starts = range(0, len(rows), most)
    for page, start in enumerate(starts, start=1):
        yield stem if len(starts) == 1 else f"{stem}-{page}", [int(row) for row in rows[start : start + most]]


def tensors_of(engines: Sequence[EngineResults]) -> dict[str, list[EngineResults]]:
    """Explained tensor -> the engines that have a map of it."""
    engines_of: dict[str, list[EngineResults]] = {}
    for engine in engines:
        for name in engine.tensors:
            engines_of.setdefault(name, []).append(engine)
    return engines_of
