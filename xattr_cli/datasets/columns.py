"""Inputs that lie in arrays, in memory or in mapped files, scaled as they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import DataError
from ..fingerprint import HashedFile
from ..samples import Batch, InputSpec
from .base import Samples
from .classes.labels import Labels

__all__ = ["ArraySamples", "Column", "Sliceable", "check_numbers", "check_samples"]


class Sliceable(Protocol):
    """An array, or a file's dataset that reads as one: only a shape, a dtype and slices are asked of it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples first."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored values."""

    def __getitem__(self, rows: slice) -> Any:
        """Some samples, as anything that numpy takes for an array."""


def check_samples(array: Sliceable, key: str) -> None:
    """Refuse what cannot be an input of many samples.

    Raises:
        DataError: no sample axis, or no numbers. `key` begins the message.
    """
    check_numbers(array, key)
    if len(array.shape) == 0:
        raise DataError(f"{key}: a single number; the first axis must count the samples.")


def check_numbers(array: Sliceable, key: str) -> None:
    """Refuse what a network cannot take.

    Raises:
        DataError: objects, texts, complex numbers, records or dates. `key` begins the message.
    """
    if array.dtype.kind not in "buif":
        raise DataError(
            f"{key}: the array is {array.dtype}; integers, floats or booleans are needed. "
            "Pad ragged samples to one length; store complex numbers as two channels."
        )


@dataclass(frozen=True)
class Column:
    """One input of every sample.

    Attributes:
        spec: what `read` delivers; its offset and scale are applied on the way.
        stored: (samples, *spec.shape) original values.
    """

    spec: InputSpec
    stored: Sliceable

    def read(self, start: int, stop: int) -> np.ndarray:
        """(stop - start, *shape) values of their own, in the units of the model."""
        values = np.asarray(self.stored[start:stop])
        if self.spec.offset is None or self.spec.scale is None:
            return np.array(values, dtype=self.spec.dtype, order="C")
        scaled: np.ndarray = (values - self.spec.offset) / self.spec.scale
        return scaled.astype(self.spec.dtype, order="C")


class ArraySamples(Samples):
    """Samples whose inputs are columns.

    Arguments:
        columns: in the order in which the model takes them.
        labels: None if there are none.
        fingerprint: hash of the content.
        classes: names of the classes, if not those of `labels`.
        keys: a printable name per sample; empty if there are none.
        texts: name -> a text per sample.
        files: that the columns are read from while they are used, as they were hashed.
        on_close: lets go of the files behind the columns.
        column: reads a column that is no input by its name; None if there are none.
        notes: how the data were read.

    Raises:
        DataError: the columns and labels are not equally long.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        labels: Labels | None,
        *,
        fingerprint: str,
        classes: Sequence[str] = (),
        keys: Sequence[str] = (),
        texts: Mapping[str, Sequence[str]] | None = None,
        files: Sequence[HashedFile] = (),
        on_close: Callable[[], None] | None = None,
        column: Callable[[str], np.ndarray] | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._columns = tuple(columns)
        self._labels = labels
        self._keys = tuple(keys)
        self._texts = {name: tuple(values) for name, values in (texts or {}).items()}
        self._files = tuple(files)
        self._on_close = on_close
        self._column = column
        self.inputs = tuple(column.spec for column in columns)
        self.classes = tuple(classes) or (labels.classes if labels else ())
        self.fingerprint = fingerprint
        self.notes = (*notes, *((labels.note,) if labels and labels.note else ()))
        self._length = self._common_length()

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, stop: int) -> Batch:
        several = None if self._labels is None else self._labels.several
        return Batch(
            index=np.arange(start, stop, dtype=np.int64),
            inputs={column.spec.name: column.read(start, stop) for column in self._columns},
            labels=None if self._labels is None else self._labels.values[start:stop].copy(),
            several=None if several is None else several[start:stop].copy(),
            keys=self._keys[start:stop],
            texts={name: values[start:stop] for name, values in self._texts.items()},
        )

    def known_labels(self) -> np.ndarray | None:
        return None if self._labels is None else self._labels.values.copy()

    def column(self, name: str) -> np.ndarray:
        if self._column is None:
            return super().column(name)
        found = self._column(name)
        if len(found) != len(self):
            raise DataError(f"target.column: {name!r} has {len(found)} values; there are {len(self)} samples.")
        return found

    def changed(self, start: int, stop: int) -> Path | None:
        return next((file.path for file in self._files if file.has_changed()), None)

    def close(self) -> None:
        if self._on_close is not None:
            self._on_close()

    def _common_length(self) -> int:
        lengths = {column.spec.name: column.stored.shape[0] for column in self._columns}
        if self._labels is not None:
            lengths["labels"] = len(self._labels.values)
        lengths |= {name: len(values) for name, values in self._texts.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise DataError(f"dataset: the arrays disagree about the number of samples: {told}.")
        return next(iter(lengths.values()))
