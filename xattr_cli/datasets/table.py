"""Datasets of tables: one sample a row, one feature a column, from .csv or .parquet."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, StrictBool

from ..errors import DataError, suggestion
from ..fingerprint import fingerprint_file
from ..job.config import JobPath
from ..registry import DATASETS
from ..samples import InputSpec
from .base import DatasetSource, Samples
from .columns import ArraySamples, Column
from .files import combined, existing_file
from .frames import check_header, frame_numbers, refuse_missing
from .labels import Labels, as_labels
from .optional import optional
from .scaling import nonzero_scale
from .statistics import Statistics, read_statistics

__all__ = ["Table"]

_CSV = (".csv", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zip")


@DATASETS.register("table")
class Table(DatasetSource):
    """A table with a header, as .csv or .parquet; every column is a feature unless said otherwise."""

    path: JobPath = Field(description=".csv (also compressed, as .csv.gz) or .parquet")
    columns: tuple[str, ...] = Field(default=(), description="the features, in the network's order")
    exclude: tuple[str, ...] = Field(default=(), description="columns that are no features")
    label: str | None = Field(
        default=None, description="column of labels: texts and integers are classes, floats a regression"
    )
    key: str | None = Field(default=None, description="column that names the samples")
    standardise: StrictBool | Statistics | JobPath = Field(
        default=False,
        description="true takes mean and standard deviation of this very table; better those of the training "
        "data, as {mean: {column: value}, std: {column: value}} or a .json or .yaml file of that",
    )
    dtype: Literal["float32", "float64"] = Field(default="float32", description="what the network is given")
    separator: str = Field(default=",", min_length=1, description="of a .csv file")

    def open(self) -> Samples:
        """Read the table.

        Raises:
            DataError: a column is unknown, doubled, not numeric or has missing values.
        """
        frame = self._frame()
        features = self._features(list(frame.columns))
        values = frame_numbers(frame[features], "dataset.columns")
        offset, scale = self._scaling(features, values)
        shape = (len(features),)
        spec = InputSpec("X", shape, np.dtype(self.dtype), ("feature",), tuple(features), offset, scale)
        return ArraySamples(
            [Column(spec, values)],
            self._labels(frame),
            fingerprint=self._fingerprint(),
            keys=[str(key) for key in frame[self.key]] if self.key else (),
        )

    def _frame(self) -> Any:
        path = existing_file(self.path, "dataset.path")
        try:
            if path.suffix.lower() == ".parquet":
                frame = self._read_parquet(path)
            elif path.name.lower().endswith(_CSV):
                frame = self._read_csv(path)
            else:
                raise DataError(f"dataset.path: {path}: unknown type of file. Allowed: .csv, .parquet.")
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"dataset.path: {path} cannot be read as a table: {error}") from error
        if len(frame) == 0:
            raise DataError(f"dataset.path: {path}: the dataset is empty, a header without rows.")
        frame.columns = [str(name) for name in frame.columns]
        return frame

    def _read_csv(self, path: Path) -> Any:
        pandas = optional("pandas", needed_by="dataset kind 'table'", install="xattr-cli[tables]")
        header = pandas.read_csv(path, sep=self.separator, header=None, nrows=1, dtype=str)
        check_header(path, header.iloc[0].tolist())
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)
            try:
                return pandas.read_csv(path, sep=self.separator, index_col=False, low_memory=False)
            except pandas.errors.ParserWarning as error:
                raise DataError(
                    f"dataset.path: {path}: the rows have more values than the header has names."
                ) from error

    def _read_parquet(self, path: Path) -> Any:
        pandas = optional("pandas", needed_by="dataset kind 'table'", install="xattr-cli[tables]")
        optional("pyarrow", needed_by="a .parquet table", install="xattr-cli[tables]")
        return pandas.read_parquet(path)

    def _features(self, present: Sequence[str]) -> list[str]:
        asides = {"label": self.label, "key": self.key}
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

    def _labels(self, frame: Any) -> Labels | None:
        if self.label is None:
            return None
        column = frame[self.label]
        refuse_missing(frame[[self.label]], "dataset.label")
        return as_labels(column.to_numpy(), "dataset.label", self.known_classes)

    def _scaling(self, features: Sequence[str], values: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        if self.standardise is False:
            return None, None
        if self.standardise is True:
            return values.mean(axis=0), nonzero_scale(values.std(axis=0))
        given = self.standardise
        if isinstance(given, Path):
            given = read_statistics(existing_file(given, "dataset.standardise"), "dataset.standardise")
        return given.of(features, "dataset.standardise")

    def _fingerprint(self) -> str:
        statistics = [self.standardise] if isinstance(self.standardise, Path) else []
        return combined(fingerprint_file(path) for path in [self.path, *statistics])
