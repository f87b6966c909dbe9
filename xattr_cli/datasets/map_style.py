"""Datasets that are Python sequences: anything with a length and items, as torch's map-style datasets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..errors import DataError, XattrError
from ..fingerprint import fingerprint_arrays
from ..samples import Batch, InputSpec
from .base import Samples
from .files import to_numpy
from .scaling import default_axes

__all__ = ["Hashing", "MapSamples", "hashing_field"]

_LOG = logging.getLogger(__name__)

_SAMPLED = 64
Hashing = Literal["full", "sampled"]
"""How much of the samples is hashed."""

Convert = Callable[[Any], np.ndarray]


def hashing_field() -> Any:
    """The option `hashing` of a dataset whose samples are made by code."""
    return Field(
        default="full",
        description="full reads every sample once before the start, so that none can change between a kill and a "
        "resume; sampled reads 64, and others may change unnoticed",
    )


class MapSamples(Samples):
    """Samples of a sequence whose items are `x`, `(x,)` or `(x, y)`; x is an array or {input: array}.

    Arguments:
        items: has `__len__` and `__getitem__`.
        where: begins every error.
        convert: one input of an item → its array.
        describe: input name and a first array → its spec.
        classes: names of the classes.
        limit: how many of the first samples are used; None for all.
        hashing: "full" hashes every one of them, "sampled" only 64.

    Raises:
        DataError: an item cannot be read, or is not the same when read again.
    """

    def __init__(
        self,
        items: Any,
        where: str,
        *,
        convert: Convert | None = None,
        describe: Callable[[str, np.ndarray], InputSpec] | None = None,
        classes: Sequence[str] = (),
        limit: int | None = None,
        hashing: Hashing = "full",
    ) -> None:
        self._items = items
        self._where = where
        self._convert = convert or (lambda value: to_numpy(value, "the input"))
        self.classes = tuple(classes)
        if len(items) == 0:
            raise DataError(f"{where}: the dataset is empty.")
        first, label = self._item(0)
        self._labelled = label is not None
        self.inputs = tuple((describe or _describe)(name, value) for name, value in first.items())
        self._refuse_random(first)
        self.fingerprint = fingerprint_arrays(self._hashed(min(len(items), limit or len(items)), hashing))

    def __len__(self) -> int:
        return len(self._items)

    def read(self, start: int, stop: int) -> Batch:
        items = [self._item(position) for position in range(start, stop)]
        inputs = {spec.name: np.empty((len(items), *spec.shape), spec.dtype) for spec in self.inputs}
        for row, (values, _) in enumerate(items):
            self._check(values, start + row)
            for name, value in values.items():
                inputs[name][row] = value
        labels = [label for _, label in items]
        return Batch(
            index=np.arange(start, stop, dtype=np.int64),
            inputs=inputs,
            labels=self._label_array(labels, start) if self._labelled else None,
        )

    def _item(self, position: int) -> tuple[dict[str, np.ndarray], Any]:
        try:
            item = self._items[position]
        except Exception as error:
            raise DataError(f"{self._where}: sample {position}: {type(error).__name__}: {error}") from error
        x, label = _parts(item, f"{self._where}: sample {position}")
        named = x if isinstance(x, Mapping) else {"X": x}
        try:
            return {str(name): self._convert(value) for name, value in named.items()}, label
        except XattrError as error:
            raise type(error)(f"{self._where}: sample {position}: {error}") from error

    def _check(self, values: Mapping[str, np.ndarray], position: int) -> None:
        found = {name: value.shape for name, value in values.items()}
        expected = {spec.name: spec.shape for spec in self.inputs}
        if found != expected:
            raise DataError(
                f"{self._where}: sample {position} has shape {found}, the first one {expected}; "
                "pad or resize them to one shape."
            )

    def _label_array(self, labels: list[Any], start: int) -> np.ndarray:
        array = to_numpy(labels, f"{self._where}: labels of samples {start} to {start + len(labels) - 1}")
        return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)

    def _refuse_random(self, first: Mapping[str, np.ndarray]) -> None:
        again, _ = self._item(0)
        if any(not np.array_equal(first[n], again[n], equal_nan=first[n].dtype.kind == "f") for n in first):
            raise DataError(
                f"{self._where}: sample 0 is another one each time it is read; "
                "leave out the random part of its transform, or fix its seed."
            )

    def _hashed(self, used: int, hashing: Hashing) -> Iterator[np.ndarray]:
        """What is hashed: the number of samples, and each sample that is used, or 64 of them."""
        yield np.array(len(self))
        chosen = np.arange(used)
        if hashing == "sampled" and used > _SAMPLED:
            chosen = np.unique(np.linspace(0, used - 1, _SAMPLED).astype(np.int64))
            _LOG.warning(
                "%s: %d of %d samples are hashed; others may change unnoticed", self._where, _SAMPLED, used
            )
        for position in chosen.tolist():
            batch = self.read(position, position + 1)
            yield from batch.inputs.values()
            if batch.labels is not None:
                yield batch.labels


def _parts(item: Any, where: str) -> tuple[Any, Any]:
    """Input and label; a label that is no single number (boxes, masks) counts as none."""
    if not isinstance(item, tuple | list):
        return item, None
    if len(item) not in (1, 2):
        raise DataError(
            f"{where}: {len(item)} parts; return (x, y), with {{name: array}} as x for several inputs."
        )
    label = item[1] if len(item) == 2 else None
    if isinstance(label, bool | int | float) or getattr(label, "shape", None) == ():
        return item[0], label
    return item[0], None


def _describe(name: str, value: np.ndarray) -> InputSpec:
    return InputSpec(name, value.shape, value.dtype.newbyteorder("="), default_axes(value.shape))
