"""Formats that hold the maps of one engine beside their inputs: for Quantus and SHAP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from ..registry import EXPORTERS
from ..store.results.arrays import RowChoice
from .base import Exporter
from .npy import npz_writer
from .source import Source

__all__ = ["QuantusExporter", "ShapJsonExporter"]


@EXPORTERS.register("quantus")
class QuantusExporter(Exporter):
    """Arguments of a metric of Quantus: `metric(model=model, **numpy.load(file))`.

    `x_batch` are the inputs as the network took them, `y_batch` the explained outputs, `a_batch` the maps. Takes
    one
    engine.
    """

    suffix = ".quantus.npz"

    def write(self, source: Source, path: Path) -> tuple[str, ...]:
        """Three arrays with an entry per row."""
        engine = source.engine
        tensor = source.tensor(engine)
        shape = (len(source.rows), *engine.tensors[tensor])
        width = 8 * int(np.prod(shape[1:]))

        def blocks(read: Callable[[RowChoice], np.ndarray]) -> Iterator[np.ndarray]:
            return (read(rows) for rows in source.blocks(width))

        with npz_writer(path) as archive:
            inputs = blocks(lambda rows: source.all_inputs(tensor, rows, original=False))
            archive.add("x_batch", shape, np.dtype(np.float32), inputs)
            archive.add("y_batch", shape[:1], np.dtype(np.int64), [source.results.rows.target[source.rows]])
            archive.add(
                "a_batch", shape, np.dtype(np.float32), blocks(lambda rows: engine.attribution(rows, tensor))
            )
        return ()


@EXPORTERS.register("shap-json")
class ShapJsonExporter(Exporter):
    """The arguments of `shap.Explanation` as JSON: `values`, `base_values`, `data` and `feature_names`.

    `shap.Explanation(**{key: numpy.array(value, float) if key != "feature_names" else value for key, value in
    json.load(open(file)).items()})` goes into SHAP's plots. Base values are the scores of the baselines; what is
    not
    finite is null. Takes one engine.
    """

    suffix = ".shap.json"

    def write(self, source: Source, path: Path) -> tuple[str, ...]:
        """Row by row, in the shape of the map."""
        engine = source.engine
        tensor = source.tensor(engine)
        spec = source.spec(engine, tensor)
        width = 64 * spec.size  # of a row in Python's own numbers
        has_inputs = source.inputs(tensor, source.rows[:1]) is not None
        with path.open("w", encoding="utf-8") as file:
            file.write('{"values": [')
            _rows(file, (engine.attribution(rows, tensor) for rows in source.blocks(width)))
            file.write('],\n"base_values": [')
            _rows(file, (engine.score_baseline[rows] for rows in source.blocks(width)))
            if has_inputs:
                file.write('],\n"data": [')
                _rows(file, (source.all_inputs(tensor, rows) for rows in source.blocks(width)))
            file.write(f'],\n"feature_names": {json.dumps(spec.features or source.flat_names(engine))}}}\n')
        return () if has_inputs else ("the inputs are not in the result: the file has no `data`.",)


def _rows(file: IO[str], blocks: Iterator[np.ndarray]) -> None:
    separator = "\n"
    for block in blocks:
        for row in block:
            finite = row if np.isfinite(row).all() else np.where(np.isfinite(row), row, None)
            file.write(separator + json.dumps(np.asarray(finite).tolist(), allow_nan=False))
            separator = ",\n"
