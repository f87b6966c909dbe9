"""The mean and the spread of folds: results of several networks on the same samples, as one result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import JobError, StoreError
from ...samples import Status
from ...store.axes import is_only_an_axis, name_axes
from ...store.checksums import write_checksums
from ...store.columns import create_dataset, write_attributes
from ...store.durable import Hdf5Writer, durable_hdf5
from ...store.results.arrays import BLOCK_BYTES, row_blocks
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from .matching import Matching, match

__all__ = ["combine"]

_MAPS = ("attribution", "reduced")
_COPIED = ("classes", "explained", "inputs", "samples")
_SEVERITY = (Status.QUARANTINED, Status.INCONSISTENT, Status.NOT_CONVERGED, Status.NOT_JUDGED, Status.CONVERGED)


def combine(files: Sequence[Results], output: Path, *, common: bool = False, overwrite: bool = False) -> int:
    """Write the mean map of every row over several results, and the standard deviation between them as `spread`.

    Scores are means too; the error of a mean is bounded by the mean of the errors; evaluations add up; the status
    is the worst one. Inputs, names and the job are those of the first file; what the others are is on record.

    Arguments:
        files: at least two open results.
        output: the result to write.
        common: go on with the rows that all files have; otherwise all must have the same.
        overwrite: replace what is there.

    Returns:
        How many rows there are.

    Raises:
        JobError: fewer than two files, or something is at `output`.
        StoreError: the files do not explain the same rows by the same engines, or it cannot be written.
    """
    if len(files) < 2:
        raise JobError("combine: takes two results or more.")
    if output.exists() and (not overwrite or any(output.samefile(file.path) for file in files)):
        raise JobError(
            f"{output}: exists; choose another --output, or --overwrite what is not one of the results."
        )
    matching = match(files)
    _check_rows(files, matching, common)
    labels = [label for label in files[0].engines if all(label in file.engines for file in files)]
    if not labels:
        raise StoreError(f"{files[0].path} and the others: have no engine in common, by the labels of their jobs.")
    with durable_hdf5(output) as writer:
        _copy_shared(files[0], matching.rows[0], writer)
        for label in labels:
            _Folds(tuple(file.engines[label] for file in files), matching).write(writer, label)
        name_axes(writer.file)
        write_attributes(writer.file, _attributes(files))
        write_checksums(writer.file, {})
    return len(matching)


def _check_rows(files: Sequence[Results], matching: Matching, common: bool) -> None:
    others = [len(file.rows) - len(matching) for file in files]
    if not len(matching) or (any(others) and not common):
        counts = ", ".join(
            f"{file.path.name} has {count} others" for file, count in zip(files, others, strict=True)
        )
        hint = (
            " Predicted outputs differ between networks: explain `target: label` or `{index: N}`."
            if any(others)
            else ""
        )
        way = " --common takes those that all have." if len(matching) else ""
        raise StoreError(f"{len(matching)} rows (sample and target) are in all files; {counts}.{hint}{way}")


def _copy_shared(first: Results, rows: np.ndarray, writer: Hdf5Writer) -> None:
    """Rows, inputs and names, as the first file has them."""
    for path, data in first.datasets().items():
        room = path.partition("/")[0]
        if is_only_an_axis(data) or room not in ("rows", *_COPIED):
            continue
        chosen = rows if room == "rows" else None
        shape = data.shape if chosen is None else (len(chosen), *data.shape[1:])
        axes = tuple(axis.label for axis in data.dims)
        copy = create_dataset(writer.file, path, shape, data.dtype, axes=axes if any(axes) else ())
        if chosen is not None or data.ndim == 0:
            copy[()] = data[()] if chosen is None else data[()][chosen]
            continue
        for where, values in row_blocks(data):
            copy[where] = values
            writer.check()


@dataclass(frozen=True)
class _Folds:
    """What the engines of several files left about the same rows."""

    engines: tuple[EngineResults, ...]
    matching: Matching

    def write(self, writer: Hdf5Writer, label: str) -> None:
        """The group of the combined engine."""
        first, at = self.engines[0], f"engines/{label}"
        shapes = {tuple(engine.tensors.items()) for engine in self.engines}
        if len(shapes) > 1:
            raise StoreError(f"engine {label!r}: the maps of the files differ in shape; they cannot be averaged.")
        sizes = np.zeros(
            (len(self.engines) + 1, len(self.matching))
        )  # squared norms: of each map, and of the mean
        for tensor in first.tensors:
            suffix = f"/{tensor}" if len(first.tensors) > 1 else ""
            for name in _MAPS if first.has_reduced else _MAPS[:1]:
                self._write_map(writer, f"{at}/{name}{suffix}", name, tensor, sizes)
        for name, values in self._numbers(sizes).items():
            column = create_dataset(writer.file, f"{at}/{name}", values.shape, values.dtype, axes=("row",))
            column[()] = values
        options = {"engine": first.engine, "options": first.options_text, "folds": len(self.engines)}
        write_attributes(writer.file[at], options | ({"reduction": first.reduction} if first.has_reduced else {}))

    def _write_map(self, writer: Hdf5Writer, path: str, name: str, tensor: str, sizes: np.ndarray) -> None:
        first = self.engines[0]
        labels = first.axes[tensor] if name == "attribution" else first.reduced_axes(tensor)
        example = self._read(0, name, tensor, slice(0, 0))
        shape = (len(self.matching), *example.shape[1:])
        axes = ("row", *labels)
        mean = create_dataset(writer.file, path, shape, np.dtype(np.float32), axes=axes)
        spread = create_dataset(writer.file, _spread_path(path, name), shape, np.dtype(np.float32), axes=axes)
        for where in self._blocks(int(np.prod(shape[1:]))):
            folds = np.stack([self._read(fold, name, tensor, where) for fold in range(len(self.engines))]).astype(
                float
            )
            mean[where], spread[where] = folds.mean(0), folds.std(0, ddof=1)
            if name == "attribution":
                for fold, values in enumerate([*folds, folds.mean(0)]):
                    sizes[fold, where] += np.square(values).reshape(len(values), -1).sum(1)
            writer.check()

    def _blocks(self, size: int) -> Iterator[slice]:
        step = max(1, BLOCK_BYTES // (8 * (len(self.engines) + 2) * max(1, size)))
        for start in range(0, len(self.matching), step):
            yield slice(start, start + step)

    def _read(self, fold: int, name: str, tensor: str, where: slice) -> np.ndarray:
        rows = self.matching.rows[fold][where]
        engine = self.engines[fold]
        return engine.attribution(rows, tensor) if name == "attribution" else engine.reduced(rows, tensor)

    def _numbers(self, sizes: np.ndarray) -> dict[str, np.ndarray]:
        """What every engine has of a row; the spread of scores between the folds beside it."""

        def folds(name: str) -> np.ndarray:
            pairs = zip(self.engines, self.matching.rows, strict=True)
            return np.stack([getattr(engine, name)[rows] for engine, rows in pairs])

        with np.errstate(divide="ignore", invalid="ignore"):
            error = (folds("relative_error") * np.sqrt(sizes[:-1])).mean(0) / np.sqrt(sizes[-1])
        status = folds("status")
        worst = _worst(status)
        means = {name: folds(name).mean(0) for name in ("score_input", "score_baseline", "completeness_gap")}
        return {
            **means,
            "relative_error": np.where(worst == Status.QUARANTINED, np.nan, error),
            "evaluations": folds("evaluations").sum(0),
            "status": worst,
            "score_spread": folds("score_input").std(0, ddof=1),
        }


def _worst(status: np.ndarray) -> np.ndarray:
    """(rows,) int8, the worst status of each row over the files (files, rows)."""
    worst = np.full(status.shape[1], Status.CONVERGED, np.int8)
    for kind in reversed(_SEVERITY):
        worst[(status == kind).any(0)] = kind
    return worst


def _spread_path(path: str, name: str) -> str:
    """`spread`, or `reduced_spread`, in the place of the map's name."""
    return path.replace(f"/{name}", "/spread" if name == "attribution" else "/reduced_spread", 1)


def _attributes(files: Sequence[Results]) -> dict[str, Any]:
    first = files[0].attributes
    keys = ("job_hash", "checkpoint_hash", "dataset_hash")
    sources = [{"path": str(file.path), **{key: file.attributes.get(key) for key in keys}} for file in files]
    texts = {key: json.dumps([source[key] for source in sources]) for key in keys}
    hashes = {key: hashlib.sha256(text.encode()).hexdigest() for key, text in texts.items()}
    return {**first, **hashes, "combined_from": json.dumps(sources)}
