"""New samples from a table or from arrays, as flat rows in the units of the network of a result file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets.array_files import ArrayFile, open_array_file
from ..errors import DataError, suggestion

__all__ = ["NewSamples", "SampleLayout", "read_samples"]

ARRAY_FILES = (".npy", ".npz", ".h5", ".hdf5")


@dataclass(frozen=True)
class SampleLayout:
    """What a sample is made of.

    Attributes:
        names: (D,) of its coordinates; empty if there are too many to have names.
        inputs: tensor -> shape, in the order in which they lie in a row.
        offset, scale: (D,) network's value = (original - offset) / scale.
        lengths: name of the array with the steps of each sample; None if all samples are equally long.
    """

    names: tuple[str, ...]
    inputs: dict[str, tuple[int, ...]]
    offset: np.ndarray
    scale: np.ndarray
    lengths: str | None

    @property
    def size(self) -> int:
        """D"""
        return len(self.offset)


@dataclass(frozen=True)
class NewSamples:
    """Samples.

    Attributes:
        points: (n, D), in the units of the network.
        present: (n, D) bool, False where a coordinate is padding.
    """

    points: np.ndarray
    present: np.ndarray


def read_samples(path: Path, layout: SampleLayout, *, original_units: bool = True) -> NewSamples:
    """All samples of a file.

    Arguments:
        path: .csv with a header, .npy, .npz or HDF5.
        layout: what they must be made of.
        original_units: the file holds values as the dataset did before it was scaled.

    Raises:
        DataError: missing or damaged file, columns or arrays that do not fit, or values that are no numbers.
    """
    is_arrays = path.is_dir() or path.suffix.lower() in ARRAY_FILES
    if not is_arrays and path.suffix.lower() != ".csv":
        raise DataError(f"{path}: unknown type of file.{suggestion(path.suffix, ['.csv', *ARRAY_FILES])}")
    points, present = _from_arrays(path, layout) if is_arrays else _from_table(path, layout)
    points = np.where(present, points, layout.offset)
    bad = np.argwhere(~np.isfinite(points))
    if len(bad):
        sample, column = bad[0].tolist()
        where = repr(layout.names[column]) if layout.names else f"coordinate {column}"
        raise DataError(
            f"{path}: sample {sample} has {points[sample, column]} at {where}; finite numbers are needed."
        )
    if original_units:
        points = (points - layout.offset) / layout.scale
    return NewSamples(points, present)


# --- tables ---------------------------------------------------------------------------------------


def _from_table(path: Path, layout: SampleLayout) -> tuple[np.ndarray, np.ndarray]:
    if layout.lengths is not None:
        raise DataError(
            f"{path}: these samples differ in length, which a table cannot say; give an .npz with the array "
            f"{layout.lengths!r} beside them."
        )
    header, lines = _lines(path)
    places = _columns(path, header, layout)
    points = np.empty((len(lines), layout.size))
    for sample, line in enumerate(lines):
        if len(line) != len(header):
            raise DataError(f"{path}, line {sample + 2}: {len(line)} values; the header has {len(header)} names.")
        for position, column in enumerate(places):
            points[sample, position] = _number(line[column], path, sample, header[column])
    return points, np.ones(points.shape, bool)


def _lines(path: Path) -> tuple[list[str], list[list[str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a table: {error}") from error
    if len(lines) < 2:
        raise DataError(f"{path}: holds no samples below a header of column names.")
    return [name.strip() for name in lines[0]], lines[1:]


def _columns(path: Path, header: Sequence[str], layout: SampleLayout) -> list[int]:
    """Position of every coordinate's column; by name, wherever it stands."""
    missing = [name for name in layout.names if name not in header]
    if missing:
        raise DataError(
            f"{path}: has no column {missing[0]!r}"
            + (f", nor {len(missing) - 1} others that are needed." if len(missing) > 1 else ".")
            + suggestion(missing[0], header)
        )
    twice = [name for name in layout.names if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}: has two columns {twice[0]!r}.")
    return [header.index(name) for name in layout.names]


def _number(text: str, path: Path, sample: int, column: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DataError(
            f"{path}, line {sample + 2}: column {column!r} holds {text!r}, which is no number."
        ) from error


# --- arrays ---------------------------------------------------------------------------------------


def _from_arrays(path: Path, layout: SampleLayout) -> tuple[np.ndarray, np.ndarray]:
    file = open_array_file(path, "samples")
    try:
        pieces = list(_pieces(file, layout))
        count = len(pieces[0])
        if any(len(piece) != count for piece in pieces):
            raise DataError(f"{path}: the arrays disagree about the number of samples.")
        if count == 0:
            raise DataError(f"{path}: holds no samples.")
        points = np.concatenate(pieces, axis=1)
        return points, _present(file, layout, count)
    finally:
        file.close()


def _pieces(file: ArrayFile, layout: SampleLayout) -> Iterator[np.ndarray]:
    """(n, size) of every input."""
    for name, shape in layout.inputs.items():
        known = file.names()
        own = name if name in known else known[0] if len(known) == len(layout.inputs) == 1 else name
        stored = file.array(own, "samples")
        values = np.asarray(stored[0 : stored.shape[0]], np.float64) if stored.shape else np.empty(0)
        size = int(np.prod(shape))
        if values.shape[1:] not in (shape, (size,)):
            raise DataError(
                f"{file.path}: the array {own!r} has shape {tuple(stored.shape)}; (samples, "
                f"{', '.join(map(str, shape))}) is needed."
            )
        yield values.reshape(len(values), size)


def _present(file: ArrayFile, layout: SampleLayout, count: int) -> np.ndarray:
    if layout.lengths is None:
        return np.ones((count, layout.size), bool)
    if layout.lengths not in file.names():
        raise DataError(
            f"{file.path}: these samples differ in length; give their steps, or a mask of them, as the array "
            f"{layout.lengths!r}."
        )
    stored = file.array(layout.lengths, "samples")
    values = np.asarray(stored[0 : stored.shape[0]])
    if len(values) != count:
        raise DataError(f"{file.path}: {layout.lengths!r} has {len(values)} entries for {count} samples.")
    return np.concatenate([_of_input(values, shape) for shape in layout.inputs.values()], axis=1)


def _of_input(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n, size) bool of one input, whose first axis are steps."""
    steps, size = shape[0], int(np.prod(shape))
    is_mask = values.ndim == 2 and values.shape[1] == steps
    real = values.astype(bool) if is_mask else np.arange(steps) < values.reshape(len(values), -1)[:, :1]
    return np.repeat(real, size // steps, axis=1)
