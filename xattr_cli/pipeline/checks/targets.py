"""The targets that a job names, as numbers of the network's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...datasets import Samples, blocks
from ...device.outputs import OutputView
from ...errors import DataError, JobError, nearest, suggestion
from ...job.config import Job
from ...job.target import Place

__all__ = ["Chosen", "choose", "outputs_text", "target_names"]

MOST_NAMED = 4096
_SPREAD = ("predicted", "second", "label")


@dataclass(frozen=True)
class Chosen:
    """The targets of a job.

    Attributes:
        count: outputs that can be explained.
        index: numbers of those that the job names; empty if it names none.
        column: (samples, k) int64, targets of each sample, if they differ from sample to sample; -1 behind them
            where a sample has fewer.
        places: shape of the targets, where each position of the output has its own; empty otherwise.
    """

    count: int
    index: tuple[int, ...] = ()
    column: np.ndarray | None = None
    places: tuple[int, ...] = ()

    def per_sample(self, job: Job) -> int:
        """Rows that every sample has."""
        if job.target.select == "all":
            return self.count
        if self.column is not None:
            return int(self.column.shape[1])
        return job.target.count or len(self.index) or 1

    @property
    def counts(self) -> np.ndarray | None:
        """(samples,) rows of each, if some have fewer than others."""
        there = None if self.column is None else (self.column >= 0).sum(axis=1)
        return None if there is None or (there == there.max(initial=0)).all() else there


def choose(job: Job, samples: Samples, classes: Sequence[str], view: OutputView, targets: int) -> Chosen:
    """Make sure that the targets that the job names exist, and number them.

    Arguments:
        job, samples: as loaded.
        classes: names of the outputs, as far as they are known.
        view: how scores are read.
        targets: scores of a sample.

    Raises:
        JobError: an index, a name or a count does not exist, or the dataset has not the labels that are asked for.
    """
    target = job.target
    if view.places:
        view = view.with_classes(targets // max(1, int(np.prod(view.positions))))
    places = view.places
    if places and target.select in _SPREAD:
        shape = ", ".join(map(str, places))
        example = ", ".join("0" for _ in places)
        raise JobError(
            f"target: {target.select!r}: each sample has scores of shape ({shape}). Say which is meant, target: "
            f"{{index: [{example}]}}, or make one score per class of all positions: target: {{select: "
            f"{target.select}, reduce: mean}} (sum, or {{mask: NAME}})."
        )
    if target.select == "top" and target.count > targets:
        raise JobError(
            f"target.top: {target.count}: too many; {outputs_text(targets)}. Use top: {targets} at most, or "
            "target: all."
        )
    if target.select == "second" and targets < 2:
        raise JobError(f"target: 'second': {outputs_text(targets)}; there is no second one.")
    if target.select == "label" and targets > 1 and samples.read(0, 1).labels is None:
        raise JobError("target: 'label': the dataset has no labels. Set dataset.labels, or target: predicted.")
    numbering = _Numbering(view, classes, targets)
    listed = target.index
    if len(places) > 1 and listed and not any(isinstance(place, tuple) for place in listed):
        listed = (tuple(place for place in listed if not isinstance(place, tuple)),)
    index = tuple(numbering.number(place, "target.index") for place in listed)
    _refuse_itself(job, index, view)
    column = _of_column(samples, target.column, numbering) if target.select == "column" else None
    if target.select == "continuation" and target.reduce == "none":
        column = _of_continuations(samples)
    return Chosen(targets, index, column, places)


def _refuse_itself(job: Job, index: Sequence[int], view: OutputView) -> None:
    """A margin of a class against itself is zero everywhere."""
    against = getattr(job.score, "against", None)
    same = [number for number in index if number == against]
    if same and not view.places:
        raise JobError(
            f"score.margin.against: {against}: is the target itself, so that every map would be zero. Name "
            "another class, or leave it out, which takes the best of the others."
        )


def outputs_text(targets: int) -> str:
    """How many outputs there are, for a message."""
    return (
        "the model has one output, number 0"
        if targets == 1
        else f"the model has {targets} outputs, 0 to {targets - 1}"
    )


@dataclass(frozen=True)
class _Numbering:
    """The number of an output, from what a job or a column calls it."""

    view: OutputView
    classes: Sequence[str]
    targets: int

    def number(self, place: Place, key: str) -> int:
        shape = self.view.places
        if not shape:
            if isinstance(place, tuple):
                if len(place) != 1:
                    raise JobError(
                        f"{key}: {list(place)}: a place of {len(place)} numbers, but "
                        f"{outputs_text(self.targets)}, one score each. Name several outputs as [3, 5]."
                    )
                [place] = place
            return self._along(place, self.targets, key, named=True)
        numbers = place if isinstance(place, tuple) else (place,)
        if len(numbers) != len(shape):
            raise JobError(
                f"{key}: {list(numbers) if len(numbers) > 1 else numbers[0]}: each sample has scores of shape "
                f"({', '.join(map(str, shape))}): a place takes {len(shape)} numbers, such as "
                f"{[0] * len(shape)}; or make one score per class of all positions with target.reduce."
            )
        along = [
            self._along(one, size, key, named=axis == self.view.class_axis)
            for axis, (one, size) in enumerate(zip(numbers, shape, strict=True))
        ]
        return self.view.targets_at(tuple(along))

    def _along(self, name: int | str, size: int, key: str, *, named: bool) -> int:
        if isinstance(name, str):
            return self._named(name, key, is_class=named)
        if not 0 <= name < size:
            raise JobError(
                f"{key}: {name}: out of range; "
                + (
                    f"that axis has {size} entries, 0 to {size - 1}."
                    if self.view.places
                    else f"{outputs_text(size)}."
                )
            )
        return int(name)

    def _named(self, name: str, key: str, *, is_class: bool) -> int:
        if not is_class or not self.classes:
            why = (
                "only classes have names" if self.classes else "the classes have no names; set dataset.class_names"
            )
            raise JobError(f"{key}: {name!r}: {why}, or give its number.")
        numbers = [number for number, one in enumerate(self.classes) if one == name]
        if len(numbers) != 1:
            hint = suggestion(name, self.classes if len(self.classes) <= 20 else [], nearest(name, self.classes))
            if numbers:
                hint = f" It is the name of the outputs {', '.join(map(str, numbers))}; give a number."
            raise JobError(
                f"{key}: {name!r}: {'several classes have that name' if numbers else 'no such class'}.{hint}"
            )
        if self.targets == 1 and not self.view.places and len(self.classes) == 2:
            raise JobError(
                f"{key}: {name!r}: the score is the single output itself, for neither class; use score: logit, of "
                "which each class has its own."
            )
        return numbers[0]


def _of_continuations(samples: Samples) -> np.ndarray:
    """(samples, k) int64 places of the output tokens in each continuation that have a score; -1 behind them.

    With a contrast these are the tokens that have a counterpart and do not belong to a common beginning, where the
    two scores are one.

    Raises:
        DataError: a continuation and its contrast leave no such token.
    """
    read = [batch.inputs for batch in blocks(samples.plain)]
    first, *others = (np.concatenate([inputs[name] for inputs in read]) for name in samples.outputs)
    asked = first >= 0
    for other in others:
        shared = min(first.shape[1], other.shape[1])
        asked = asked[:, :shared] & (other[:, :shared] >= 0)
        asked &= np.logical_or.accumulate(first[:, :shared] != other[:, :shared], axis=1)
    counts = asked.sum(axis=1)
    if not counts.all():
        raise DataError(
            f"dataset.contrast: sample {int(np.argmin(counts))}: the continuation and its contrast do not differ "
            "in a token that both have. Use another contrast, or target: {select: continuation, reduce: sum}."
        )
    places = np.argsort(~asked, axis=1, kind="stable")[:, : counts.max()]
    positions: np.ndarray = np.where(np.arange(counts.max()) < counts[:, None], places, -1)
    return positions


def _of_column(samples: Samples, name: str, numbering: _Numbering) -> np.ndarray:
    """(samples, k) int64 targets that a column of the dataset names."""
    values = samples.column(name)[: len(samples)]
    rows = []
    for number, cell in enumerate(values.tolist()):
        try:
            rows.append(_cell(cell, numbering))
        except JobError as error:
            raise DataError(
                f"target.column: {name!r}, sample {number}: {str(error).partition(': ')[2]}"
            ) from error
    column = np.full((len(rows), max(map(len, rows))), -1, dtype=np.int64)
    for targets, row in zip(column, rows, strict=True):
        targets[: len(row)] = row
    return column


def _cell(cell: object, numbering: _Numbering) -> list[int]:
    """The targets that one cell names: a number, a name, or a list, also as text."""
    entries: Any = cell if isinstance(cell, list) else [cell]
    if isinstance(cell, str) and cell not in numbering.classes:
        words = cell.strip("[]() ").replace(",", " ").split()
        entries = [int(word) if word.isdecimal() else word for word in words]
    elif isinstance(cell, float) and cell.is_integer():
        entries = [int(cell)]
    if not entries or not all(isinstance(one, int | str) for one in entries):
        raise JobError(f"column: {cell!r}: must name an output, by its number or its class.")
    if len(numbering.view.places) > 1:
        return [numbering.number(tuple(entries), "column")]
    return [numbering.number(one, "column") for one in entries]


def target_names(classes: Sequence[str], view: OutputView, targets: int) -> tuple[str, ...]:
    """What the targets are called where they are not the classes; empty where they are, or are too many."""
    if targets == 1 and len(classes) == 2 and not view.positions:
        return (f"output (of {classes[1]})",)
    if not view.places or targets > MOST_NAMED:
        return ()
    shape = view.with_classes(targets // max(1, int(np.prod(view.positions)))).places
    names = []
    for place in np.ndindex(*shape):
        number = place[view.class_axis]
        name = classes[number] if len(classes) == shape[view.class_axis] else str(number)
        rest = [str(i) for axis, i in enumerate(place) if axis != view.class_axis]
        names.append(f"{name} at {', '.join(rest)}")
    return tuple(names)
