"""The rows of a page: what each explains, its input beside its maps, its curves and its pairs of features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.selection import Selection
from ..drawing.words import MINUS, describe_map, number, percent, score_unit
from ..interactions.matrix import row_matrix
from ..paths.saturation import half_way
from .choice import Chosen
from .facts import STATUS_WORDS, RowFacts, agreement
from .kinds import views_of
from .traces import Bars, Curve, bars, curve
from .views import Shown, View

__all__ = ["Beside", "Card", "Cell", "File", "MapCell", "cards", "joined"]

_PAIRS = 5


@dataclass(frozen=True)
class File:
    """An open file in a page.

    Attributes:
        name: short and unlike those of the others.
        chosen: its rows that are shown; all of a file that stands beside another one.
    """

    name: str
    selection: Selection
    facts: RowFacts
    chosen: Chosen

    @property
    def results(self) -> Results:
        """The file itself."""
        return self.selection.results


@dataclass(frozen=True)
class Cell:
    """An entry of the table of rows: the column's name, its text, and what it is sorted by."""

    name: str
    text: str
    key: str


@dataclass(frozen=True)
class MapCell:
    """One map: whose it is, how sure, what it looks like.

    Attributes:
        title: engine, and file if there are several.
        words: error, cost, and where colours end.
        warning: why it is not to be trusted; '' if it is.
        shown: its looks; None if the row is quarantined.
    """

    title: str
    words: str
    warning: str
    shown: Shown | None


@dataclass(frozen=True)
class Beside:
    """What is known of two files whose rows were matched and compared.

    Attributes:
        places: (rows, 2) int64, the row of either file.
        columns: further columns of the table of rows, (rows,) each.
        words: label of an engine → for every row what is said of the second file's map, and a warning or ''.
    """

    places: np.ndarray
    columns: Mapping[str, np.ndarray]
    words: Mapping[str, Sequence[tuple[str, str]]]


@dataclass(frozen=True)
class Group:
    """One explained tensor of a row: its input as a picture, if it is one, and its maps."""

    tensor: str
    source: str
    maps: tuple[MapCell, ...]


@dataclass(frozen=True)
class Card:
    """One row of the page.

    Attributes:
        anchor: of the row in the page.
        cells: of the table.
        groups: per explained tensor.
        curves: title, curve and words of each engine that has one.
        pairs: title and bars of each engine of second order.
    """

    anchor: str
    cells: tuple[Cell, ...]
    groups: tuple[Group, ...]
    curves: tuple[tuple[str, Curve, str], ...] = field(default=())
    pairs: tuple[tuple[str, Bars], ...] = field(default=())

    @property
    def facts(self) -> list[Cell]:
        """What is known of the row."""
        return [cell for cell in self.cells if cell.text]


def joined(named: Sequence[tuple[Results, str]]) -> list[list[tuple[Results, str]]]:
    """Files and their names: those of the same data together, those of other data apart."""
    by_data: dict[object, list[tuple[Results, str]]] = {}
    for place, (results, name) in enumerate(named):
        known = results.attributes.get("dataset_hash")
        by_data.setdefault(known or place, []).append((results, name))
    return list(by_data.values())


def cards(files: Sequence[File], prefix: str, beside: Beside | None = None) -> Iterator[Card]:
    """The rows of files of the same data; the first file says which.

    A row of another file stands beside one of the first if it explains the same target of the same sample, or
    if both files explain that sample once.

    Arguments:
        prefix: of the anchors.
        beside: how the rows of two files were matched, and how they differ; None finds those that stand beside
            each other.
    """
    first = files[0]
    places = np.stack([_beside(first, file) for file in files], axis=1) if beside is None else beside.places
    more = _agreement(files, places) if beside is None else beside.columns
    views = [
        views_of(file.results, file.selection.engines, [row for row in places[:, column].tolist() if row >= 0])
        for column, file in enumerate(files)
    ]
    several = len(files) > 1
    table = {name: first.facts.column(name) for name in _columns(first.facts)}
    for place, row in enumerate(places):
        here = [
            (file, view, place) for file, view, place in zip(files, views, row.tolist(), strict=True) if place >= 0
        ]
        cells = [_cell(name, values[int(row[0])]) for name, values in table.items()]
        yield Card(
            f"{prefix}{int(first.results.rows.id[row[0]])}",
            (*cells, *(_cell(name, values[place]) for name, values in more.items())),
            tuple(_groups(here, several, {} if beside is None else _words(beside, place))),
            tuple(found for file, _, place in here for found in _curves(file, place, several)),
            tuple(found for file, _, place in here for found in _pairs(file, place, several)),
        )


def _agreement(files: Sequence[File], places: np.ndarray) -> dict[str, np.ndarray]:
    """A column of how alike all maps of a row are, if there are several."""
    parts = [(engine, places[:, column]) for column, file in enumerate(files) for engine in file.selection.engines]
    return {"agreement": agreement(parts)} if len(parts) > 1 else {}


def _words(beside: Beside, place: int) -> dict[str, tuple[str, str]]:
    return {label: words[place] for label, words in beside.words.items()}


def _columns(facts: RowFacts) -> list[str]:
    """Names of the columns that say something about any row."""
    names = ["row", "sample", "key", "label", "predicted", "target", "correct", "score", "error", "status"]
    regression = facts.results.rows.is_regression
    hidden = {"target", "correct"} if regression else set()
    if np.array_equal(facts.results.rows.id, facts.results.rows.sample):
        hidden.add("sample")
    shown = [name for name in names if name not in hidden]
    return [name for name in shown if _says_something(facts.column(name))]


def _says_something(values: np.ndarray) -> bool:
    return bool((values != "").any()) if values.dtype == object else not np.isnan(values.astype(float)).all()


def _cell(name: str, value: object) -> Cell:
    if isinstance(value, str):
        place = list(STATUS_WORDS.values()).index(value) if name == "status" else value.lower()
        return Cell(name, value, str(place))
    amount = float(value)  # type: ignore[arg-type]  # a number of numpy
    if np.isnan(amount):
        return Cell(name, "", "")
    if name in ("row", "sample"):
        return Cell(name, str(int(amount)), str(int(amount)))
    return Cell(name, _WRITTEN.get(name, number)(amount), repr(amount))


def _correlation(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", MINUS)


_WRITTEN = {
    "error": percent, "distance": percent, "flips": percent, "agreement": _correlation, "rank corr.": _correlation,
}  # fmt: skip
"""Column → how its numbers are written, if not by three digits."""


def _beside(first: File, other: File) -> np.ndarray:
    """(shown rows of the first,) position of the row of another file that stands beside each; -1 for none."""
    rows = first.chosen.rows
    if other is first:
        return rows
    ours, theirs = first.results.rows, other.results.rows
    exact = {pair: k for k, pair in enumerate(zip(theirs.sample.tolist(), theirs.target.tolist(), strict=True))}
    samples, counts = np.unique(theirs.sample, return_counts=True)
    once = {int(sample) for sample, count in zip(samples, counts, strict=True) if count == 1}
    ours_once = len(np.unique(ours.sample)) == len(ours)
    by_sample = {int(sample): k for k, sample in enumerate(theirs.sample) if int(sample) in once and ours_once}
    return np.array(
        [
            exact.get((int(ours.sample[row]), int(ours.target[row])), by_sample.get(int(ours.sample[row]), -1))
            for row in rows
        ],
        np.int64,
    )


def _title(file: File, engine: EngineResults, several: bool) -> str:
    return f"{file.name}: {engine.label}" if several else engine.label


def _groups(
    here: Sequence[tuple[File, list[View], int]], several: bool, compared: Mapping[str, tuple[str, str]]
) -> Iterator[Group]:
    """Maps by tensor; compared ones of two files share their colours and stand beside each other."""
    tensors = dict.fromkeys(view.tensor for _, views, _ in here for view in views)
    for tensor in tensors:
        maps: list[tuple[str, MapCell]] = []
        source = ""
        ends = [view.limits(row) for _, views, row in here for view in views if compared and view.tensor == tensor]
        least = {label: max(each.get(label, 0.0) for each in ends) for each in ends for label in each}
        for place, (file, views, row) in enumerate(here):
            for view in (one for one in views if one.tensor == tensor):
                source = source or view.input(row)
                told = _told(file, row) if several and place else ""
                shown = view.maps(row, least)
                for engine in (engine for unit in view.units for engine in unit):
                    title = _title(file, engine, several)
                    cell = _map_cell(title, engine, row, shown.get(engine.label), told)
                    told_apart = compared.get(engine.label, ("", "")) if place else ("", "")
                    maps.append((engine.label, _differing(cell, *told_apart)))
        if compared:
            labels = [label for label, _ in maps]
            maps.sort(key=lambda each: labels.index(each[0]))
        yield Group(tensor, source, tuple(cell for _, cell in maps))


def _differing(cell: MapCell, words: str, warning: str) -> MapCell:
    """A map of the second of two files, with how far it is from that of the first."""
    told = (cell.words, words), (cell.warning, warning)
    return replace(cell, words="; ".join(filter(None, told[0])), warning="; ".join(filter(None, told[1])))


def _told(file: File, row: int) -> str:
    """What another network says of the sample."""
    target = file.facts.column("target")[row]
    return f"target {target}, {score_unit(file.results)} {number(float(file.facts.score[row]))}"


def _map_cell(title: str, engine: EngineResults, row: int, shown: Shown | None, told: str) -> MapCell:
    status = int(engine.status[row])
    words, _, warning = describe_map(engine, row).partition("\n")
    if status == Status.QUARANTINED:
        return MapCell(title, told, "quarantined: score or gradient is not finite", None)
    parts = [told, words, f"colours end at ±{shown.limit}" if shown and shown.limit else ""]
    return MapCell(title, "; ".join(part for part in parts if part), warning, shown)


def _curves(file: File, row: int, several: bool) -> Iterator[tuple[str, Curve, str]]:
    for engine in file.selection.engines:
        if "score" not in engine.curves:
            continue
        scores = engine.curve("score", [row])
        drawn = curve(engine.alpha, scores[0])
        if drawn is not None:
            middle = float(half_way(engine.alpha, scores)[0])
            words = f"{score_unit(file.results)} from the baseline to the input"
            words += f"; half of its change is made by α = {middle:.2g}" if np.isfinite(middle) else ""
            yield _title(file, engine, several), drawn, words


def _pairs(file: File, row: int, several: bool) -> Iterator[tuple[str, Bars]]:
    for engine in file.selection.engines:
        interactions = engine.interactions
        if interactions is None or engine.status[row] == Status.QUARANTINED:
            continue
        strongest = row_matrix(file.results, engine, interactions, row).strongest(_PAIRS)
        if strongest:
            names = [" × ".join(pair) for pair, _, _ in strongest]
            amounts, errors = (np.array([one[k] for one in strongest], np.float64) for k in (1, 2))
            yield _title(file, engine, several), bars(names, [""] * len(names), amounts, errors)
