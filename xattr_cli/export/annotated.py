"""AnnData: maps as an annotated matrix of rows × features, for scanpy and the tools around it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..registry import EXPORTERS
from ..samples import Status
from ..store.columns import STRINGS
from ..store.results.arrays import RowChoice
from .base import Exporter
from .source import Source, numbered

__all__ = ["AnnDataExporter"]

_PER_ROW = ("score_input", "score_baseline", "completeness_gap", "relative_error", "evaluations")


@EXPORTERS.register("anndata")
class AnnDataExporter(Exporter):
    """An annotated matrix for AnnData and scanpy: `anndata.read_h5ad(file)`.

    X and `layers[LABEL]` hold the maps of the first engine and of each engine, (rows, features); `layers[input]`
    the inputs
    in the units of the dataset; `obs` what is known of a row, errors and status of every engine among it; `var`
    the features. Several explained tensors stand side by side.
    """

    suffix = ".h5ad"

    def write(self, source: Source, path: Path) -> tuple[str, ...]:
        """The annotations at once, the matrices block by block: AnnData itself writes whole ones only."""
        first = source.engines[0]
        names = source.flat_names(first)
        shape = (len(source.rows), len(names))
        with h5py.File(path, "w") as file:
            _encode(file, "anndata", "0.1.0")
            for name in ("layers", "obsm", "obsp", "uns", "varm", "varp"):
                _encode(file.create_group(name), "dict", "0.1.0")
            _frame(file, "obs", [str(row) for row in source.results.rows.id[source.rows]], _about(source))
            _frame(file, "var", numbered(names, "{}-{}"), {"tensor": _tensors(source)})
            for name, value in source.attributes().items():
                _element(file["uns"], name, value)
            layers = {engine.label: _matrix(file, f"layers/{engine.label}", shape) for engine in source.engines}
            layers |= {"input": _matrix(file, "layers/input", shape)} if _has_inputs(source) else {}
            layers["X"] = _matrix(file, "X", shape)
            start = 0
            for rows in source.blocks(4 * shape[1]):
                values = {engine.label: source.flat(engine, rows) for engine in source.engines}
                values |= {"X": values[first.label]} | (
                    {"input": _inputs(source, rows)} if "input" in layers else {}
                )
                where = slice(start, start + len(values["X"]))
                for name, matrix in layers.items():
                    matrix[where] = values[name]
                start = where.stop
        return ()


def _encode(item: h5py.HLObject, kind: str, version: str = "0.2.0") -> None:
    """Say what an element is, as AnnData's format on disk does."""
    item.attrs.update({"encoding-type": kind, "encoding-version": version})


def _element(group: h5py.Group, name: str, value: Any) -> None:
    if isinstance(value, str):
        group.create_dataset(name, data=value, dtype=STRINGS)
        _encode(group[name], "string")
        return
    array = np.asarray(value)
    group.create_dataset(
        name, data=array.astype(object) if array.dtype.kind in "OU" else array, dtype=_dtype(array)
    )
    _encode(
        group[name],
        "numeric-scalar" if array.ndim == 0 else "string-array" if array.dtype.kind in "OU" else "array",
    )


def _dtype(array: np.ndarray) -> np.dtype[Any]:
    return STRINGS if array.dtype.kind in "OU" else array.dtype


def _frame(file: h5py.File, name: str, index: list[str], columns: Mapping[str, Any]) -> None:
    group = file.create_group(name)
    _encode(group, "dataframe")
    group.attrs["_index"] = "_index"
    group.attrs.create("column-order", list(columns), dtype=STRINGS)
    for column, values in {"_index": np.array(index, dtype=object), **columns}.items():
        _element(group, column, np.asarray(values))


def _matrix(file: h5py.File, path: str, shape: tuple[int, int]) -> h5py.Dataset:
    matrix = file.create_dataset(path, shape, np.float32)
    _encode(matrix, "array")
    return matrix


def _about(source: Source) -> dict[str, Any]:
    about, rows = source.results.rows, source.rows
    columns: dict[str, Any] = {
        name: getattr(about, name)[rows] for name in ("sample", "label", "target", "prediction")
    }
    if source.results.has_keys:
        columns["key"] = source.results.keys_of(about.sample[rows])
    if len(source.results.outputs):
        columns["target_name"] = [str(name) for name in source.results.outputs[rows]]
    elif source.results.classes:
        columns["target_name"] = [source.results.target_name(int(target)) for target in about.target[rows]]
    for engine in source.engines:
        columns |= {f"{engine.label}_{name}": getattr(engine, name)[rows] for name in _PER_ROW}
        columns[f"{engine.label}_status"] = [Status(int(status)).name.lower() for status in engine.status[rows]]
    return columns


def _tensors(source: Source) -> list[str]:
    first = source.engines[0]
    return [name for name in first.tensors for _ in range(source.spec(first, name).size)]


def _has_inputs(source: Source) -> bool:
    """Whether the inputs of all rows are stored, in the shape of the maps."""
    known, maps = source.results.inputs, source.engines[0].tensors
    fits = all(name in known and known[name].shape == shape for name, shape in maps.items())
    return fits and bool(np.isin(source.results.rows.sample[source.rows], source.stored).all())


def _inputs(source: Source, rows: RowChoice) -> np.ndarray:
    values = [source.all_inputs(name, rows) for name in source.engines[0].tensors]
    return np.concatenate([each.reshape(len(each), -1) for each in values], axis=1)
