"""The features that mattered most in single rows, as a table for people and as objects for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any

import numpy as np

from ..errors import JobError
from .source import Source
from .tables import Block, Codes, long_table

__all__ = ["ranking", "ranking_text"]

_OF_FEATURE = ("feature", "token", "value", "attribution", "standard_error")


def ranking(source: Source, rows: Sequence[int], count: int) -> list[dict[str, Any]]:
    """The features of the largest |attribution|: an object per row, engine and tensor, in that order.

    Arguments:
        source: the open file with the engines that are asked for.
        rows: numbers of rows, as in `/rows/id`; the first row if there are none.
        count: how many features of each map.

    Raises:
        JobError: a row that the file does not have.
    """
    places = {int(number): place for place, number in enumerate(source.results.rows.id)}
    wanted = list(rows) or list(places)[:1]
    for row in wanted:
        if row not in places:
            ends = f"numbered {min(places)} to {max(places)}" if places else "none"
            raise JobError(f"{source.results.path}: no row {row}. It has {len(places)} rows, {ends}.")
    ranked = []
    for row in wanted:
        chosen = replace(source, rows=np.array([places[row]], np.int64))
        ranked += [about for block in long_table(chosen, top=count) for about in _of_block(block)]
    return ranked


def _of_block(block: Block) -> Iterator[dict[str, Any]]:
    columns = {name: _plain(values) for name, values in block.items() if name != "position"}
    if not columns["row"]:
        return
    names = [name for name in _OF_FEATURE if name in columns]
    features = [{name: columns[name][line] for name in names} for line in range(len(columns["row"]))]
    yield {**{name: values[0] for name, values in columns.items() if name not in names}, "features": features}


def _plain(values: np.ndarray | Codes) -> list[Any]:
    """Python's own numbers and texts; None for what is not finite."""
    if isinstance(values, Codes):
        return [values.names[code] for code in values.codes]
    return [None if isinstance(value, float) and not isfinite(value) else value for value in values.tolist()]


def ranking_text(about: Mapping[str, Any]) -> str:
    """One object of `ranking`, in lines."""
    named = f" ({about['target_name']})" if "target_name" in about else ""
    sample = about.get("key") or about["sample"]
    error = "" if about["relative_error"] is None else f", error {100 * about['relative_error']:.2g} %"
    head = f"row {about['row']}, sample {sample}, target {about['target']}{named}, {about['engine']}"
    lines = [f"{head}: score {_number(about['score_input'])}{error}, {about['status'].replace('_', ' ')}"]
    names = [
        name for name in _OF_FEATURE if any(feature.get(name) not in (None, "") for feature in about["features"])
    ]
    cells = [[name.replace("_", " ") for name in names]]
    cells += [[_number(feature[name]) for name in names] for feature in about["features"]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (
            cell.ljust(width) if name in ("feature", "token") else cell.rjust(width)
            for name, cell, width in zip(names, row, widths, strict=True)
        )
        lines.append("  " + "  ".join(padded).rstrip())
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
