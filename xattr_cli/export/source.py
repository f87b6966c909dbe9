"""What is exported: the chosen engines and rows of a result file, read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import h5py
import numpy as np

from ..errors import JobError, StoreError, suggestion
from ..samples import InputSpec, feature_names
from ..store.axes import COORDINATE_OF, dimension_names, is_only_an_axis
from ..store.results.arrays import BLOCK_BYTES, RowChoice, read_rows
from ..store.results.engines import EngineResults
from ..store.results.reader import Results

__all__ = ["Source", "StoredArray", "choose", "numbered"]


@dataclass(frozen=True)
class StoredArray:
    """An array of the file as it is exported: only the chosen rows, if it has an entry per row.

    Attributes:
        path: in the file, such as "engines/ig/attribution".
        dims: a name per axis; no two are the same.
        data: where it lies.
        rows: which entries of the first axis; None for all.
    """

    path: str
    dims: tuple[str, ...]
    data: h5py.Dataset
    rows: np.ndarray | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what is exported."""
        return self.data.shape if self.rows is None else (len(self.rows), *self.data.shape[1:])

    @property
    def is_text(self) -> bool:
        """Whether it holds strings."""
        return h5py.check_string_dtype(self.data.dtype) is not None

    @property
    def is_axis(self) -> bool:
        """Whether it only repeats, as a coordinate, what another array says."""
        return COORDINATE_OF in self.data.attrs

    def texts(self) -> np.ndarray:
        """(*shape) all strings, of fixed width."""
        values = np.asarray(self.data.asstr()[()], dtype=str)
        return values if self.rows is None else values[self.rows]

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Numbers in slices of at most 32 MiB (and at least one entry), or all of a scalar at once."""
        if self.data.ndim == 0:
            yield slice(0, 1), np.asarray(self.data[()])
            return
        width = self.data.dtype.itemsize * prod(self.data.shape[1:])
        chosen = np.arange(len(self.data)) if self.rows is None else self.rows
        start = 0
        for piece in _pieces(chosen, width):
            values = read_rows(self.data, piece)
            yield slice(start, start + len(values)), values
            start += len(values)


@dataclass(frozen=True)
class Source:
    """The part of a result file that is exported.

    Attributes:
        results: the open file.
        engines: the chosen engines that explain rows, in the order of the job.
        rows: (n,) int64, positions of the chosen rows, increasing.
    """

    results: Results
    engines: tuple[EngineResults, ...]
    rows: np.ndarray

    def blocks(self, row_bytes: int) -> Iterator[RowChoice]:
        """The chosen rows in pieces of at most 32 MiB (and at least one row), to read arrays by.

        Arguments:
            row_bytes: what is held of a row at once.
        """
        yield from _pieces(self.rows, row_bytes)

    @property
    def engine(self) -> EngineResults:
        """The engine, where a format holds one only.

        Raises:
            JobError: there are several.
        """
        if len(self.engines) > 1:
            labels = ", ".join(engine.label for engine in self.engines)
            raise JobError(f"{self.results.path}: this format holds one engine; choose it by --engine: {labels}.")
        return self.engines[0]

    def tensor(self, engine: EngineResults) -> str:
        """The explained tensor, where a format holds one only.

        Raises:
            StoreError: there are several.
        """
        if len(engine.tensors) > 1:
            names = ", ".join(engine.tensors)
            raise StoreError(f"{self.results.path}: explains several tensors ({names}); this format holds one.")
        return next(iter(engine.tensors))

    def spec(self, engine: EngineResults, tensor: str, *, whole: bool = True) -> InputSpec:
        """Shape, axes and feature names of a map; with `whole=False` of the reduced one, if there is one."""
        first = slice(0, min(1, len(self.results.rows)))
        values = engine.attribution(first, tensor) if whole else engine.reduced(first, tensor)
        shape = values.shape[1:]
        axes = engine.axes[tensor] if len(shape) == len(engine.tensors[tensor]) else engine.reduced_axes(tensor)
        known = self.results.inputs.get(tensor)
        features = known.features if known is not None and shape == (len(known.features),) else ()
        return InputSpec(tensor, shape, values.dtype, axes if all(axes) else (), features)

    def flat_names(self, engine: EngineResults) -> tuple[str, ...]:
        """A name for every number of a row's map, all tensors one after the other."""
        return feature_names([self.spec(engine, tensor) for tensor in engine.tensors])

    def flat(self, engine: EngineResults, rows: RowChoice) -> np.ndarray:
        """(chosen rows, D) the maps of all tensors side by side."""
        maps = [engine.attribution(rows, tensor) for tensor in engine.tensors]
        return np.concatenate([values.reshape(len(values), -1) for values in maps], axis=1)

    @cached_property
    def stored(self) -> np.ndarray:
        """(samples,) int64, the samples whose inputs are in the file, increasing."""
        return np.sort(np.fromiter(self.results.stored, np.int64, len(self.results.stored)))

    def inputs(self, tensor: str, rows: RowChoice, *, original: bool = True) -> np.ndarray | None:
        """(chosen rows, *shape) float64 inputs of rows, NaN where a sample's is not stored; None if none is.

        Arguments:
            tensor: name of the input.
            rows: positions of rows.
            original: in the units of the dataset, not as the network took them.
        """
        known = self.results.inputs.get(tensor)
        if known is None or known.shape is None:
            return None
        samples = self.results.rows.sample[rows]
        there = np.isin(samples, self.stored)
        if not there.any():
            return None
        values = np.full((len(samples), *known.shape), np.nan)
        values[there] = known.original(samples[there]) if original else known.values(samples[there])
        return values

    def all_inputs(self, tensor: str, rows: RowChoice, *, original: bool = True) -> np.ndarray:
        """(chosen rows, *shape) float64 inputs of rows, where a format cannot do without.

        Raises:
            StoreError: some are not in the file.
        """
        known = self.results.inputs.get(tensor)
        if known is None or (known.shape is None and self.results.stored):
            raise StoreError(
                f"{self.results.path}: this format holds inputs, and {tensor!r} is a tensor inside the network, "
                "whose values no result keeps."
            )
        values = self.inputs(tensor, rows, original=original)
        if values is None or not np.isin(self.results.rows.sample[rows], self.stored).all():
            raise StoreError(
                f"{self.results.path}: this format holds inputs, and those of {tensor!r} are not all stored; run "
                "the job again with output.store_inputs: all."
            )
        return values

    def steps(self, tensor: str, rows: RowChoice) -> tuple[np.ndarray | None, np.ndarray | None]:
        """What the steps of a padded sequence are: (chosen rows, steps) bool and str, or None where it is none.

        Steps of samples that are not stored count as real, and have no names.
        """
        known = self.results.inputs.get(tensor)
        samples = self.results.rows.sample[rows]
        there = np.isin(samples, self.stored)
        if known is None or not there.any():
            return None, None
        real, tokens = known.real(samples[there]), known.all_tokens(samples[there]) if known.has_tokens else None
        return _spread(real, there, True), _spread(tokens, there, "")

    def arrays(self) -> Iterator[StoredArray]:
        """Every array of rows, samples, inputs, the chosen engines and all effects, by path."""
        labels = {engine.label for engine in self.engines}
        everything = np.array_equal(self.rows, np.arange(len(self.results.rows)))
        for path, data in self.results.datasets().items():
            first, _, rest = path.partition("/")
            if first == "engines" and rest.partition("/")[0] not in labels:
                continue
            if is_only_an_axis(data) and COORDINATE_OF not in data.attrs:
                continue
            dims = dimension_names(data)
            per_row = bool(dims) and dims[0] == "row"
            yield StoredArray(path, dims, data, self.rows if per_row and not everything else None)

    def attributes(self) -> dict[str, Any]:
        """Where the numbers come from: what the file says of itself, without what is of the machine."""
        return {
            key: value
            for key, value in self.results.attributes.items()
            if isinstance(value, str | int | float) and key not in ("host", "command_line")
        }


def choose(results: Results, engines: Sequence[str] | None, target: int | None) -> Source:
    """Choose engines by label and rows by what they explain.

    Arguments:
        engines: labels; None for all that explain rows.
        target: number of an output; None for all rows.

    Raises:
        JobError: an engine or target that the file does not have.
        StoreError: the file has no rows.
    """
    if not results.engines:
        raise StoreError(f"{results.path}: has no rows; what it says of the whole dataset is read by `inspect`.")
    labels = list(results.engines) if engines is None else list(dict.fromkeys(engines))
    for label in labels:
        if label not in results.engines:
            raise JobError(f"{results.path}: no engine {label!r}.{suggestion(label, results.engines)}")
    rows = np.arange(len(results.rows))
    if target is not None:
        rows = np.flatnonzero(results.rows.target == target)
        if len(rows) == 0:
            known = ", ".join(map(str, np.unique(results.rows.target)[:20]))
            raise JobError(f"{results.path}: no row explains output {target}. Those that are explained: {known}.")
    return Source(results, tuple(results.engines[label] for label in labels), rows)


def numbered(names: Sequence[str], form: str) -> list[str]:
    """The names, those that came before with a number, where a format wants them to differ.

    Example:
        >>> numbered(("a", "b", "a"), "{}-{}")
        ['a', 'b', 'a-2']
    """
    seen: dict[str, int] = {}
    differing = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        differing.append(name if seen[name] == 1 else form.format(name, seen[name]))
    return differing


def _spread(values: np.ndarray | None, there: np.ndarray, otherwise: object) -> np.ndarray | None:
    if values is None:
        return None
    full = np.full((len(there), *values.shape[1:]), otherwise, dtype=values.dtype)
    full[there] = values
    return full


def _pieces(rows: np.ndarray, row_bytes: int) -> Iterator[RowChoice]:
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    for start in range(0, len(rows), step):
        piece = rows[start : start + step]
        # HDF5 reads a slice many times faster than a list of positions
        is_run = piece[-1] - piece[0] == len(piece) - 1
        yield slice(int(piece[0]), int(piece[-1]) + 1) if is_run else piece
