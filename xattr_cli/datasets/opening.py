"""Opening a dataset: its `limit` and `class_names` applied, and every batch checked on its way out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..samples import Batch, InputSpec
from .base import DatasetSource, Samples, WrappedSamples
from .files import combined

__all__ = ["blocks", "finite_rows", "open_dataset"]


def open_dataset(source: DatasetSource) -> Samples:
    """Open the dataset of a job.

    Raises:
        DataError: what the source finds wrong; no samples; inputs that no network can take; more
            classes than `class_names`; a batch that does not have the shape it announces.
    """
    samples = source.open()
    try:
        opened = _Opened(samples, source)
        opened.read(0, 1)
    except BaseException:
        samples.close()
        raise
    return opened


class _Opened(WrappedSamples):
    """The first `limit` samples of a dataset, with the checks that any kind must pass."""

    def __init__(self, samples: Samples, source: DatasetSource) -> None:
        super().__init__(samples)
        self._kind = f"dataset kind {source.registered_name!r}"
        given = source.known_classes
        self.classes = given or samples.classes
        if isinstance(source.class_names, Path):  # names in the job itself are compared with the job
            self.fingerprint = combined([samples.fingerprint, *given])
        self._source = source
        if len(samples) == 0:
            raise DataError(f"{self._kind}: the dataset is empty.")
        self._length = min(len(samples), source.limit or len(samples))
        self._check_specs()

    def __len__(self) -> int:
        return self._length

    @property
    def available(self) -> int:
        return len(self._samples)

    def read(self, start: int, stop: int) -> Batch:
        if not 0 <= start <= stop <= len(self):
            raise IndexError(f"samples {start} to {stop} of a dataset of {len(self)}")
        batch = self._samples.read(start, stop)
        for spec in self.inputs:
            self._check_input(batch, spec, stop - start)
        self._check_labels(batch)
        return batch

    def known_labels(self) -> np.ndarray | None:
        labels = self._samples.known_labels()
        return None if labels is None else labels[: len(self)]

    def completed(self, network: Any) -> Samples:
        found = self._samples.completed(network)
        return self if found is self._samples else _Opened(found, self._source)

    def _check_specs(self) -> None:
        names = [spec.name for spec in self.inputs]
        if not names or len(set(names)) < len(names):
            raise DataError(f"{self._kind}: inputs must have different names, not {names}.")
        for spec in self.inputs:
            if spec.size == 0:
                raise DataError(f"{self._kind}: input {spec.name!r} has shape {spec.shape}: no values.")
            if spec.dtype.kind not in "buif" or spec.dtype.itemsize > 8:
                raise DataError(f"{self._kind}: input {spec.name!r} is {spec.dtype}, which no network takes.")

    def _check_input(self, batch: Batch, spec: InputSpec, count: int) -> None:
        values = batch.inputs.get(spec.name)
        expected = (count, *spec.shape)
        if values is None or values.shape != expected or values.dtype != spec.dtype:
            found = "nothing" if values is None else f"{values.dtype} {values.shape}"
            raise DataError(
                f"{self._kind}: samples {batch.index[:1].tolist()}…: input {spec.name!r} should be "
                f"{spec.dtype} {expected}, but {found} was delivered."
            )

    def _check_labels(self, batch: Batch) -> None:
        labels = batch.labels
        if labels is None:
            return
        if labels.shape != (len(batch),) or labels.dtype not in (np.int64, np.float64):
            raise DataError(
                f"{self._kind}: labels should be int64 or float64 ({len(batch)},), "
                f"but {labels.dtype} {labels.shape} was delivered."
            )
        if labels.dtype == np.int64 and len(labels) and labels.min() < -1:
            raise DataError(f"{self._kind}: class number {labels.min()} is negative.")


def finite_rows(batch: Batch) -> np.ndarray:
    """(n,) bool: whether every floating value of each sample is finite."""
    finite = np.ones(len(batch), dtype=bool)
    for values in batch.inputs.values():
        if values.dtype.kind == "f":
            finite &= np.isfinite(values).reshape(len(batch), -1).all(axis=1)
    return finite


_BLOCK_BYTES = 16 * 2**20


def blocks(samples: Samples, block_bytes: int = _BLOCK_BYTES) -> Iterator[Batch]:
    """All samples in order, in batches of about `block_bytes` of inputs, at least one sample each."""
    sample_bytes = sum(spec.size * spec.dtype.itemsize for spec in samples.inputs)
    rows = max(1, block_bytes // max(1, sample_bytes))
    for start in range(0, len(samples), rows):
        yield samples.read(start, min(start + rows, len(samples)))
