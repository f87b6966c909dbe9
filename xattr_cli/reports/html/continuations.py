"""Heat maps of continuations in a page: output tokens down, the tokens before them across."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...samples import Status
from ..drawing.words import number
from ..rows.output_maps import OutputMap, OutputReader
from .cards import File
from .facts import STATUS_WORDS
from .views import level

__all__ = ["Heat", "heat_maps"]

_MOST_SAMPLES = 100


@dataclass(frozen=True)
class Heat:
    """The heat map of a sample.

    Attributes:
        title: sample, and engine.
        limit: where colours end, in words.
        parts: explained tensors and how many tokens each has.
        tokens: of the columns.
        lines: output token, a word on a row that is not to be trusted, and (colour, number) of every column.
    """

    title: str
    limit: str
    parts: tuple[tuple[str, int], ...]
    tokens: tuple[str, ...]
    lines: tuple[tuple[str, str, tuple[tuple[int, str], ...]], ...]


def heat_maps(file: File) -> list[Heat]:
    """Of the samples of the rows that are shown, every engine's map; none of a file without output tokens."""
    reader = OutputReader(file.results, file.selection.engines)
    shown = {int(sample) for sample in file.results.rows.sample[file.chosen.rows]}
    samples = [sample for sample in reader.samples if sample in shown][:_MOST_SAMPLES]
    return [_heat(file, sample, found) for sample in samples for found in reader.maps(sample)]


def _heat(file: File, sample: int, shown: OutputMap) -> Heat:
    ends = [start for _, start in shown.parts[1:]] + [len(shown.tokens)]
    parts = tuple((name, end - start) for (name, start), end in zip(shown.parts, ends, strict=True) if end > start)
    key = file.results.keys.get(sample, "")
    title = f"sample {sample}{f' ({key})' if key else ''}, {shown.engine.label}"
    lines = tuple(
        (output, _warning(int(shown.engine.status[row])), _cells(values, shown.limit))
        for row, output, values in zip(shown.rows.tolist(), shown.outputs, shown.values, strict=True)
    )
    return Heat(title, number(shown.limit), parts, shown.tokens, lines)


def _warning(status: int) -> str:
    return "" if status in (Status.CONVERGED, Status.NOT_JUDGED) else STATUS_WORDS[status]


def _cells(values: np.ndarray, limit: float) -> tuple[tuple[int, str], ...]:
    return tuple((level(value / limit), number(value)) for value in values.tolist())
