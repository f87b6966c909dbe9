"""Files of tables as people write them: other separators, decimal commas, encodings, missing cells."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from .files import optional

__all__ = ["CSV", "CsvForm", "check_header", "frame_numbers", "refuse_missing", "without_bad_cells"]

CSV = (".csv", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zip", ".tsv", ".tsv.gz")
_SEPARATORS = ",;\t|"
_SAMPLE = 2**16
_SHOWN = 5
MOST_BAD = 0.5
"""Share of cells below which those that are no numbers are bad ones; above, the column is of another kind."""


def _pandas() -> Any:
    return optional("pandas", needed_by="dataset kind 'table'", install="xattr-cli[tables]")


@dataclass(frozen=True)
class CsvForm:
    """How a .csv file is written.

    Attributes:
        separator: between cells.
        decimal: the point or the comma of numbers.
        encoding: of its bytes.
    """

    separator: str = ","
    decimal: str = "."
    encoding: str = "utf-8"

    @property
    def note(self) -> str:
        """What is not as usual; empty if all is."""
        told = [] if self.separator == "," else [f"separator {self.separator!r}"]
        told += [] if self.decimal == "." else ["decimal comma"]
        told += [] if self.encoding.startswith("utf-8") else [f"encoding {self.encoding}"]
        return f"table: read with {', '.join(told)}" if told else ""

    @classmethod
    def of(cls, path: Path, *, separator: str, decimal: str, encoding: str) -> CsvForm:
        """The form of a file; what is "auto" is recognised by its first lines.

        Raises:
            OSError: it cannot be read.
        """
        start = _first_bytes(path)
        encoding = _encoding(start) if encoding == "auto" else encoding
        lines = start.decode(encoding, errors="replace").splitlines()
        lines = [line for line in lines[:-1] or lines if line.strip()]
        if separator == "auto":
            separator = _separator(lines[0] if lines else "")
        if decimal == "auto":
            decimal = "," if separator != "," and _has_decimal_commas(lines[1:], separator) else "."
        return cls(separator, decimal, encoding)

    def read(self, path: Path, *, label: str | None) -> Any:
        """The file as a frame of pandas; in the column of labels, NA and None may be names of classes.

        Raises:
            DataError: rows have more values than the header has names, or a name is missing or doubled.
        """
        pandas = _pandas()
        header = pandas.read_csv(
            path,
            sep=self.separator,
            header=None,
            nrows=1,
            dtype=str,
            encoding=self.encoding,
            keep_default_na=False,
        ).replace("", np.nan)
        names = header.iloc[0].tolist()
        check_header(path, names)
        # pandas takes "NA", "None" and more for missing; of a class they may be the name
        from_text = {} if label not in names else {"dtype": {label: str}, **_missing_but(names, label)}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            try:
                frame = pandas.read_csv(
                    path,
                    sep=self.separator,
                    decimal=self.decimal,
                    encoding=self.encoding,
                    index_col=False,
                    low_memory=False,
                    **from_text,
                )
            except pandas.errors.ParserWarning as error:
                raise DataError(
                    f"dataset.path: {path}: the rows have more values than the header has names."
                ) from error
        if label in names:
            frame[label] = _typed(frame[label], self.decimal)
        return frame


_MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
"""What pandas takes for a missing cell."""


def _missing_but(names: Sequence[str], label: str | None) -> dict[str, Any]:
    return {
        "keep_default_na": False,
        "na_values": {name: [""] if name == label else list(_MISSING) for name in names},
    }


def _typed(column: Any, decimal: str) -> Any:
    """A column of texts as numbers, if all that is not missing are numbers; classes are texts."""
    pandas = _pandas()
    words = column.where(~column.isin(_MISSING))
    if decimal == ",":
        words = words.str.replace(",", ".", regex=False)
    numbers = pandas.to_numeric(words, errors="coerce")
    if not bool(words.notna().any()) or bool((numbers.isna() & words.notna()).any()):
        return column
    is_whole = numbers.notna().all() and not words.str.contains(r"[.eE]", regex=True).any()
    return numbers.astype(np.int64) if is_whole else numbers


def _first_bytes(path: Path) -> bytes:
    name = path.name.lower()
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as packed:
            return packed.read(_SAMPLE)
    opener: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix.lower(), open)
    with opener(path, "rb") as file:
        start: bytes = file.read(_SAMPLE)
    return start


def _encoding(start: bytes) -> str:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig" if start.startswith(codecs.BOM_UTF8) else "utf-8"


def _separator(header: str) -> str:
    """The separator that a header has most of, outside of quotes."""
    outside = "".join(header.split('"')[::2])
    counts = {one: outside.count(one) for one in _SEPARATORS}
    best = max(counts, key=lambda one: counts[one])
    return best if counts[best] else ","


def _has_decimal_commas(lines: Sequence[str], separator: str) -> bool:
    cells = [cell.strip().strip('"') for line in lines[:50] for cell in line.split(separator)]
    with_comma = [cell.lstrip("+-").replace(",", "", 1) for cell in cells if cell.count(",") == 1]
    return any(cell.isdecimal() for cell in with_comma)


# --- what is in it ------------------------------------------------------------------------------


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
    doubled = sorted(name for name, times in Counter(named).items() if times > 1)
    if doubled:
        raise DataError(f"dataset.path: {path}: several columns are called {', '.join(map(repr, doubled))}.")


def refuse_missing(frame: Any, key: str, keys: Sequence[str] = ()) -> None:
    """Refuse missing values.

    Arguments:
        frame: of pandas.
        key: dotted key of the job file, for the error.
        keys: names of the rows; empty if they have none.

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
            shown = ", ".join(f"{row} ({keys[row]})" if len(keys) else str(row) for row in rows[:_SHOWN])
            told.append(f"{name!r} in row {shown}{more}")
    raise DataError(
        f"{key}: values are missing (rows count from 0 below the header): {'; '.join(told)}. Fill or remove them, "
        "leave the column out with dataset.exclude, or set dataset.bad_rows: quarantine to explain the other rows."
    )


def frame_numbers(frame: Any, key: str, *, keys: Sequence[str] = (), missing: bool = False) -> np.ndarray:
    """Values of a frame as (rows, columns) float64.

    Arguments:
        frame: of pandas.
        key: dotted key of the job file, for errors.
        keys: names of the rows; empty if they have none.
        missing: hand missing values over as NaN.

    Raises:
        DataError: names the columns that are not numeric, with their first cell that is no number, or those that
            have missing values.
    """
    told = [_not_numeric(frame[name], keys) for name in frame.columns if frame[name].dtype.kind not in "buif"]
    if told:
        few = "" if missing else " Where few cells are bad, dataset.bad_rows: quarantine explains the other rows."
        raise DataError(
            f"{key}: not numeric: {'; '.join(told)}. Encode them as numbers as in training, "
            f"or leave them out with dataset.exclude.{few}"
        )
    if not missing:
        refuse_missing(frame, key, keys)
    values: np.ndarray = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def without_bad_cells(frame: Any) -> tuple[Any, tuple[str, ...]]:
    """The frame with NaN for cells that are no numbers, in columns that mostly hold some; and which these were."""
    pandas, told = _pandas(), []
    frame = frame.copy()
    for name in frame.columns:
        if frame[name].dtype.kind in "buif" or frame[name].dtype.name == "category":
            continue
        words = frame[name].astype(object)
        numbers = pandas.to_numeric(words, errors="coerce")
        bad = np.flatnonzero(numbers.isna() & words.notna())
        if 0 < len(bad) < MOST_BAD * words.notna().sum():
            cells = ", ".join(f"{words.iloc[row]!r} in row {row}" for row in bad[:_SHOWN].tolist())
            more = f" and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
            told.append(f"table: column {name!r}: {cells}{more}: no numbers, so these rows are quarantined")
            frame[name] = numbers.astype(float)
    return frame, tuple(told)


def _not_numeric(column: Any, keys: Sequence[str]) -> str:
    """A column with the first of its cells that is no number, as it stands there."""
    pandas = _pandas()
    if column.dtype.kind == "M":
        return (
            f"{column.name!r} holds dates (such as {column.iloc[0]}); store the days since a date of your choice"
        )
    words = column.astype(object)
    bad = np.flatnonzero(pandas.to_numeric(words, errors="coerce").isna() & words.notna())
    if not len(bad):
        return f"{column.name!r} ({column.dtype})"
    row, cell = int(bad[0]), words.iloc[int(bad[0])]
    where = f"row {row} ({keys[row]})" if len(keys) else f"row {row}"
    text = f"{column.name!r} (such as {cell!r} in {where}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dates = pandas.to_datetime(words.iloc[bad[:_SHOWN]].astype(str), errors="coerce").notna().all()
    if dates and any(mark in str(cell) for mark in "-/.:"):
        return f"{text}; dates: store the days since a date of your choice)"
    return f"{text}; {len(bad)} of {len(words)} cells are no numbers)" if len(bad) < len(words) else f"{text})"
