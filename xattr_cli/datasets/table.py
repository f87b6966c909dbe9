"""Datasets of tables: one sample a row, one feature a column, from .csv or .parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, StrictBool, ValidationError, model_validator

from ..errors import DataError, reported, suggestion
from ..fingerprint import fingerprint_file
from ..job.config import JobPath
from ..registry import DATASETS, Options
from ..samples import InputSpec
from ..untrusted.archives import is_bomb, swelling
from ..untrusted.files import read_text
from ..untrusted.yaml_text import parse_yaml
from .base import DatasetSource, Samples
from .classes.labels import Labels, as_labels, numbered
from .columns import ArraySamples, Column
from .files import combined, existing_file, optional
from .scaling import nonzero_scale
from .table_files import CSV, CsvForm, frame_numbers, refuse_missing, without_bad_cells

__all__ = ["Statistics", "Table", "read_statistics"]


@DATASETS.register("table", "csv", "parquet", "pandas")
class Table(DatasetSource):
    """A table with a header, as .csv or .parquet; every column is a feature unless said otherwise."""

    path: JobPath = Field(description=".csv (also compressed, as .csv.gz) or .parquet")
    columns: tuple[str, ...] = Field(default=(), description="the features, in the network's order")
    exclude: tuple[str, ...] = Field(default=(), description="columns that are no features")
    label: str | None = Field(
        default=None, description="column of labels: texts and integers are classes, floats a regression"
    )
    key: str | None = Field(default=None, description="column that names the samples; kept in the result")
    id: str | None = Field(default=None, description="another word for key")
    standardise: StrictBool | Statistics | JobPath = Field(
        default=False,
        description="true takes mean and standard deviation of this very table; better those of the training "
        "data, as {mean: {column: value}, std: {column: value}} or a .json or .yaml file of that",
    )
    dtype: Literal["float32", "float64"] = Field(default="float32", description="what the network is given")
    separator: str = Field(
        default="auto", min_length=1, description="of a .csv file; auto recognises , ; | and tabs"
    )
    decimal: Literal["auto", ".", ","] = Field(default="auto", description="of the numbers of a .csv file")
    encoding: str = Field(default="auto", description="of a .csv file; auto takes UTF-8, UTF-16 or else cp1252")

    @model_validator(mode="after")
    def _one_name(self) -> Table:
        if self.id is not None and self.key is not None:
            raise ValueError("give either id or key")
        return self

    @property
    def _names(self) -> str | None:
        """The column that names the samples."""
        return self.key if self.id is None else self.id

    def open(self) -> Samples:
        """Read the table.

        Raises:
            DataError: a column is unknown, doubled, not numeric or has missing values.
        """
        frame, note = self._frame()
        features = self._features(list(frame.columns))
        keys = [str(key) for key in frame[self._names]] if self._names else []
        patient = self.bad_rows == "quarantine"
        chosen, told = without_bad_cells(frame[features]) if patient else (frame[features], ())
        values = frame_numbers(chosen, "dataset.columns", keys=keys, missing=patient)
        offset, scale = self._scaling(features, values)
        shape = (len(features),)
        spec = InputSpec("X", shape, np.dtype(self.dtype), ("feature",), tuple(features), offset, scale)
        return ArraySamples(
            [Column(spec, values)],
            self._labels(frame, keys),
            fingerprint=self._fingerprint(),
            keys=keys,
            notes=(*((note,) if note else ()), *told),
            column=lambda name: self._column(frame, features, name),
        )

    def _column(self, frame: Any, features: Sequence[str], name: str) -> np.ndarray:
        """A column that is no feature."""
        if name not in frame.columns:
            raise DataError(
                f"target.column: {name!r}: {self.path} has no such column.{suggestion(name, frame.columns)}"
            )
        if name in features:
            raise DataError(
                f"target.column: {name!r} is a feature that the network is given. Leave it out with "
                "dataset.exclude."
            )
        values: np.ndarray = frame[name].to_numpy()
        return values

    def _frame(self) -> tuple[Any, str]:
        """The table, and how it is read if that is not as usual."""
        path = existing_file(self.path, "dataset.path")
        note = ""
        with reported(f"dataset.path: {path} cannot be read as a table", DataError):
            if bomb := swelling(path):
                raise DataError(f"dataset.path: {path} {bomb}")
            if path.suffix.lower() == ".parquet":
                frame = self._read_parquet(path)
            elif path.name.lower().endswith(CSV):
                form = CsvForm.of(path, separator=self.separator, decimal=self.decimal, encoding=self.encoding)
                frame, note = form.read(path, label=self.label), form.note
            else:
                raise DataError(f"dataset.path: {path}: unknown type of file. Allowed: .csv, .parquet.")
        if len(frame) == 0:
            raise DataError(f"dataset.path: {path}: the dataset is empty, a header without rows.")
        return frame.set_axis([str(name) for name in frame.columns], axis="columns"), note

    def _read_parquet(self, path: Path) -> Any:
        pandas = optional("pandas", needed_by="dataset kind 'table'", install="xattr-cli[tables]")
        parquet = optional("pyarrow.parquet", needed_by="a .parquet table", install="xattr-cli[tables]")
        about = parquet.read_metadata(path)
        if is_bomb(8 * about.num_rows * about.num_columns, path.stat().st_size):
            raise DataError(
                f"dataset.path: {path} is {path.stat().st_size:,} bytes that unpack to {about.num_rows:,} rows: a "
                "decompression bomb, or nearly all of it is the same."
            )
        return pandas.read_parquet(path)

    def _features(self, present: Sequence[str]) -> list[str]:
        asides = {"label": self.label, "id" if self.key is None else "key": self._names}
        single = {key: (name,) for key, name in asides.items() if name is not None}
        for key, names in {"columns": self.columns, "exclude": self.exclude, **single}.items():
            for name in names:
                if name not in present:
                    raise DataError(
                        f"dataset.{key}: {self.path} has no column {name!r}.{suggestion(name, present)}"
                    )
        if len(set(self.columns)) < len(self.columns):
            raise DataError(f"dataset.columns: a column is named twice: {', '.join(self.columns)}.")
        if self.label in self.columns:
            raise DataError(f"dataset.columns: {self.label!r} is the label; the network must not see it.")
        left_out = {*self.exclude, *asides.values()}
        features = list(self.columns) or [name for name in present if name not in left_out]
        features = [name for name in features if name not in self.exclude]
        if not features:
            raise DataError(f"dataset.exclude: no column of {self.path} is left.")
        return features

    def _labels(self, frame: Any, keys: Sequence[str]) -> Labels | None:
        if self.label is None:
            return None
        column = frame[self.label]
        missing = column.isna().to_numpy()
        if self.bad_rows == "error":
            refuse_missing(column.to_frame(), "dataset.label", keys)
        elif missing.any():
            return self._known_labels(column, missing)
        return self._labels_of(column)

    def _labels_of(self, column: Any) -> Labels:
        given = self.known_classes
        if column.dtype.name != "category":
            return as_labels(column.to_numpy(), "dataset.label", given)
        # numbered as its categories are, in whatever order they stand
        found = as_labels(
            column.astype(str).to_numpy(), "dataset.label", given or tuple(map(str, column.cat.categories))
        )
        return found if given else replace(found, note=numbered(found.classes))

    def _known_labels(self, column: Any, missing: np.ndarray) -> Labels:
        """Labels of which some are missing: −1, or NaN of a regression."""
        if missing.all():
            raise DataError(f"dataset.label: {self.label!r} has no value in any row of {self.path}.")
        known = self._labels_of(column[~missing])
        whole = np.full(len(column), -1 if known.values.dtype == np.int64 else np.nan, known.values.dtype)
        whole[~missing] = known.values
        return replace(known, values=whole)

    def _scaling(self, features: Sequence[str], values: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        if self.standardise is False:
            return None, None
        if self.standardise is True:
            return np.nanmean(values, axis=0), nonzero_scale(np.nanstd(values, axis=0))
        given = self.standardise
        if isinstance(given, Path):
            given = read_statistics(existing_file(given, "dataset.standardise"), "dataset.standardise")
        return given.of(features, "dataset.standardise")

    def _fingerprint(self) -> str:
        statistics = [self.standardise] if isinstance(self.standardise, Path) else []
        return combined(fingerprint_file(path) for path in [self.path, *statistics])


class Statistics(Options):
    """Mean and standard deviation per column."""

    mean: dict[str, float] = Field(description="subtracted")
    std: dict[str, float] = Field(description="divided by; a 0 counts as 1")

    def of(self, columns: Sequence[str], key: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale, each (columns,) float64; further columns are passed over.

        Raises:
            DataError: a column has no entry, or a negative or non-finite one. `key` begins the message.
        """
        mean = _values(self.mean, columns, f"{key}.mean")
        std = _values(self.std, columns, f"{key}.std")
        if (std < 0).any():
            raise DataError(f"{key}.std: {columns[int(np.argmin(std))]!r} has {std.min()}, which is negative.")
        return mean, nonzero_scale(std)


def read_statistics(path: Path, key: str) -> Statistics:
    """Read `{mean: {column: value}, std: {column: value}}` from a .json or .yaml file.

    Raises:
        DataError: it cannot be read or does not have this form. `key` begins the message.
    """
    source = f"{key}: {path}"
    try:
        return Statistics.model_validate(parse_yaml(read_text(path, source, DataError), source, DataError))
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in wrong["loc"]) or "the file"
        raise DataError(
            f"{key}: {path}: {where}: {wrong['msg']}. "
            "The form is {mean: {column: value}, std: {column: value}}."
        ) from error


def _values(levels: dict[str, float], columns: Sequence[str], key: str) -> np.ndarray:
    for name in columns:
        if name not in levels:
            raise DataError(f"{key}: no value for column {name!r}.{suggestion(name, levels)}")
    values = np.array([levels[name] for name in columns], dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{key}: {columns[int(np.argmin(np.isfinite(values)))]!r} is not finite.")
    return values
