"""Files of texts: one a line in .txt, one a record in .csv and .jsonl."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, suggestion
from ..files import existing_file

__all__ = ["TextFile", "read_text_file"]

LINE = "text"
"""What the only column of a .txt file is called."""


class TextFile:
    """The records of a text file.

    Arguments:
        path: of the file, for errors.
        records: column -> value, in order.
        lines: of the file that the records begin at, counted from 1.
    """

    def __init__(self, path: Path, records: Sequence[Mapping[str, Any]], lines: Sequence[int]) -> None:
        self.path = path
        self._records = records
        self._lines = lines

    def __len__(self) -> int:
        return len(self._records)

    def head(self, count: int | None) -> TextFile:
        """The first records."""
        return TextFile(self.path, self._records[:count], self._lines[:count])

    def where(self, record: int) -> str:
        """The place of a record, for errors."""
        return f"{self.path}, line {self._lines[record]}"

    def texts(self, column: str, key: str) -> list[str]:
        """A column of texts.

        Raises:
            DataError: there is no such column, or a record has no text in it. `key` begins the message.
        """
        values = self.values(column, key)
        for record, value in enumerate(values):
            if not isinstance(value, str) or not value.strip():
                shown = "is empty" if value in (None, "") or isinstance(value, str) else f"is {value!r}, no text"
                raise DataError(f"{key}: {self.where(record)}: {column!r} {shown}.")
        return values

    def labels(self, column: str, key: str) -> np.ndarray:
        """(n,) a column of labels: integers if all are, else numbers if all are, else texts.

        Raises:
            DataError: there is no such column, or a record has nothing in it. `key` begins the message.
        """
        values = self.values(column, key)
        for record, value in enumerate(values):
            if value is None or value == "" or not isinstance(value, str | int | float):
                raise DataError(f"{key}: {self.where(record)}: {column!r} has no label.")
        for kind in (int, float):
            try:
                return np.array([kind(_exactly(value, kind)) for value in values])
            except ValueError:
                continue
        return np.array([str(value) for value in values])

    def values(self, column: str, key: str) -> list[Any]:
        """A column of any values.

        Raises:
            DataError: there is no such column. `key` begins the message.
        """
        for record in self._records:
            if column not in record:
                raise DataError(f"{key}: {self.path} has no column {column!r}.{suggestion(column, record)}")
        return [record[column] for record in self._records]


def _exactly(value: Any, kind: type) -> Any:
    """The value, unless reading it as `kind` would change it."""
    if kind is int and isinstance(value, float):
        raise ValueError
    return value


def read_text_file(path: Path, key: str) -> TextFile:
    """Read a .txt, .csv or .jsonl file in UTF-8; empty lines are passed over.

    Raises:
        DataError: missing, of another type, damaged or empty. `key` begins the message.
    """
    readers: dict[str, Callable[[Path, str], tuple[list[dict[str, Any]], list[int]]]] = {
        ".txt": _read_lines,
        ".csv": _read_csv,
        ".jsonl": _read_json_lines,
    }
    reader = readers.get(existing_file(path, key).suffix.lower())
    if reader is None:
        raise DataError(f"{key}: {path}: unknown type of file.{suggestion(path.suffix, readers)}")
    try:
        records, lines = reader(path, key)
    except UnicodeDecodeError as error:
        raise DataError(f"{key}: {path} is not in UTF-8: {error}. Save it in that encoding.") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"{key}: {path} cannot be read: {error}") from error
    if not records:
        raise DataError(f"{key}: {path}: the dataset is empty, without a text.")
    return TextFile(path, records, lines)


def _read_lines(path: Path, _key: str) -> tuple[list[dict[str, Any]], list[int]]:
    numbered = enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1)
    numbered_texts = [(number, line.strip()) for number, line in numbered if line.strip()]
    return [{LINE: line} for _, line in numbered_texts], [number for number, _ in numbered_texts]


def _read_csv(path: Path, key: str) -> tuple[list[dict[str, Any]], list[int]]:
    records, lines = [], []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        doubled = [name for name, times in Counter(reader.fieldnames or ()).items() if times > 1]
        if doubled:
            raise DataError(f"{key}: {path}: several columns are called {doubled[0]!r}.")
        start = reader.line_num
        for record in reader:
            if None in record or None in record.values():
                raise DataError(
                    f"{key}: {path}, line {start + 1}: as many values as the header has names are needed."
                )
            records.append(dict(record))
            lines.append(start + 1)
            start = reader.line_num
    return records, lines


def _read_json_lines(path: Path, key: str) -> tuple[list[dict[str, Any]], list[int]]:
    records, lines = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{key}: {path}, line {number}: is no JSON: {error}") from error
        if not isinstance(record, dict):
            raise DataError(f'{key}: {path}, line {number}: an object such as {{"text": ...}} is needed.')
        records.append(record)
        lines.append(number)
    return records, lines
