"""Long tables: a line per row of the result, engine and feature, as Parquet or CSV."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from pydantic import Field

from ..errors import JobError
from ..importing import import_optional
from ..registry import EXPORTERS
from ..samples import InputSpec, Status, feature_names
from ..store.results.arrays import BLOCK_BYTES, RowChoice
from ..store.results.engines import EngineResults
from .base import Exporter
from .source import Source

__all__ = ["Block", "Codes", "CsvExporter", "LongTable", "ParquetExporter", "long_table", "top_places"]

_LINES = 2**18  # of a block: about 40 MB in Arrow


@dataclass(frozen=True)
class Codes:
    """A column of few different texts.

    Attributes:
        codes: (lines,) which text each line has.
        names: the texts.
    """

    codes: np.ndarray
    names: tuple[str, ...]


Block: TypeAlias = dict[str, "np.ndarray | Codes"]


def long_table(source: Source, *, top: int | None = None, whole: bool = False) -> Iterator[Block]:
    """The lines of a long table, column by column, in blocks in the order of engines, tensors and rows.

    Padding of a sequence has no lines.

    Arguments:
        source: the open file with the engines and rows that are asked for.
        top: only so many features of the largest |attribution| of each row, the largest first.
        whole: every number of a map, even where there is one per token, step or pixel.
    """
    for engine in source.engines:
        for tensor in engine.tensors:
            spec = source.spec(engine, tensor, whole=whole)
            lines = _Lines(source, engine, spec, feature_names([spec]), top)
            for rows in source.blocks(BLOCK_BYTES // _LINES * spec.size):
                yield lines.of(rows)


def top_places(maps: np.ndarray, count: int | None) -> np.ndarray:
    """(rows, k) int64, positions of the largest |values| of each row, the largest first; all in order if None.

    Arguments:
        maps: (rows, D).
        count: k, at most D.
    """
    if count is None or count >= maps.shape[1]:
        every = np.broadcast_to(np.arange(maps.shape[1]), maps.shape)
        return every if count is None else _largest_first(maps, every)
    sizes = np.nan_to_num(np.abs(maps), nan=-1.0)
    return _largest_first(maps, np.argpartition(-sizes, count - 1, axis=1)[:, :count])


def _largest_first(maps: np.ndarray, places: np.ndarray) -> np.ndarray:
    sizes = np.nan_to_num(np.abs(np.take_along_axis(maps, places, axis=1)), nan=-1.0)
    order = np.lexsort((places, -sizes), axis=1)
    return np.take_along_axis(places, order, axis=1)


@dataclass(frozen=True)
class _Lines:
    """The lines of one engine and tensor."""

    source: Source
    engine: EngineResults
    spec: InputSpec
    names: tuple[str, ...]
    top: int | None

    def of(self, rows: RowChoice) -> Block:
        """Of some rows; which columns there are depends on the file alone."""
        source, engine, spec = self.source, self.engine, self.spec
        is_whole = spec.shape == engine.tensors[spec.name]
        values = engine.attribution(rows, spec.name) if is_whole else engine.reduced(rows, spec.name)
        maps = values.reshape(len(values), -1)
        real, tokens = source.steps(spec.name, rows)
        per_step = spec.size // (1 if real is None else real.shape[1])
        # padding, whose attribution is 0, comes last among the largest
        places = top_places(
            maps if real is None else np.where(np.repeat(real, per_step, 1), maps, np.nan), self.top
        )
        line, place = np.repeat(np.arange(len(maps)), places.shape[1]), places.ravel()
        if real is not None:
            kept = real[line, place // per_step]
            line, place = line[kept], place[kept]
        one = np.zeros(len(line), np.int32)
        block: Block = {
            **_about_rows(source, rows, line),
            "engine": Codes(one, (engine.label,)),
            "tensor": Codes(one, (spec.name,)),
            "position": place,
            "feature": Codes(place.astype(np.int32), self.names),
        }
        if any(known.has_tokens for known in source.results.inputs.values()):
            none = np.full(len(line), "", dtype=object)
            block["token"] = none if tokens is None else tokens[line, place * tokens.shape[1] // spec.size]
        if any(known.shape is not None for known in source.results.inputs.values()):
            block["value"] = _at(source.inputs(spec.name, rows), spec.shape, line, place)
        block["attribution"] = maps[line, place]
        if any(each.has_standard_error for each in source.engines):
            block["standard_error"] = _at(engine.standard_error(rows, spec.name), spec.shape, line, place)
        return {**block, **_about_engine(engine, rows, line)}


def _at(values: np.ndarray | None, shape: tuple[int, ...], line: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(lines,) float64, what an array of rows has at places of a map; NaN if it has another shape, or is none."""
    if values is None or values.shape[1:] != shape:
        return np.full(len(line), np.nan)
    flat: np.ndarray = values.reshape(len(values), -1)[line, place].astype(np.float64)
    return flat


def _about_rows(source: Source, rows: RowChoice, line: np.ndarray) -> Block:
    about, results = source.results.rows, source.results
    keys = results.keys_of(about.sample[rows]) if results.has_keys else None
    block: Block = {"row": about.id[rows][line], "sample": about.sample[rows][line]}
    if keys is not None:
        block["key"] = Codes(line.astype(np.int32), tuple(keys))
    block |= {name: getattr(about, name)[rows][line] for name in ("label", "target", "prediction")}
    if len(results.outputs):
        block["target_name"] = Codes(line.astype(np.int32), tuple(map(str, results.outputs[rows])))
    elif results.classes or results.targets:
        numbers, place = np.unique(about.target[rows], return_inverse=True)
        names = tuple(map(results.target_name, numbers.tolist()))
        block["target_name"] = Codes(place[line].astype(np.int32), names)
    return block


def _about_engine(engine: EngineResults, rows: RowChoice, line: np.ndarray) -> Block:
    numbers = ("score_input", "score_baseline", "completeness_gap", "relative_error")
    block: Block = {name: getattr(engine, name)[rows][line] for name in numbers}
    block["status"] = Codes(
        engine.status[rows][line].astype(np.int32), tuple(each.name.lower() for each in Status)
    )
    return block


class LongTable(Exporter):
    """A long table: a line per row, engine, tensor and feature."""

    top: int | None = Field(
        default=None, ge=1, description="only so many features of the largest |attribution| a row"
    )
    whole: bool = Field(
        default=False, description="every number of a map, even where the result has one per token, step or pixel"
    )

    def write(self, source: Source, path: Path) -> tuple[str, ...]:
        """Block by block, in the order of engines, tensors and rows."""
        arrow = import_optional("pyarrow", needed_by="this format", install="xattr-cli[tables]", error=JobError)
        writer = None
        try:
            for block in long_table(source, top=self.top, whole=self.whole):
                lines = arrow.table({name: _column(arrow, values) for name, values in block.items()})
                writer = writer or self.open(path, lines.schema)
                writer.write_table(lines)
        finally:
            if writer is not None:
                writer.close()
        return ()

    @abstractmethod
    def open(self, path: Path, schema: Any) -> Any:
        """What takes one Arrow table after the other."""


def _column(arrow: Any, values: np.ndarray | Codes) -> Any:
    if isinstance(values, Codes):
        # as plain text: what repeats is stored once by Parquet itself, and CSV has no codes
        return arrow.DictionaryArray.from_arrays(values.codes, list(values.names)).dictionary_decode()
    return arrow.array(values)


@EXPORTERS.register("parquet")
class ParquetExporter(LongTable):
    """A Parquet table with a line per row, engine and feature: `pandas.read_parquet(file)`, DuckDB, R's arrow.

    Columns: row, sample, key, label, target, prediction, target_name, engine, tensor, position (in the flat map),
    feature, token, value (of the input, in the units of the dataset), attribution, standard_error, and what
    belongs to the row: score_input, score_baseline, completeness_gap, relative_error, status.
    """

    suffix = ".parquet"

    def open(self, path: Path, schema: Any) -> Any:
        """A Parquet writer."""
        parquet = import_optional(
            "pyarrow.parquet", needed_by="export --to parquet", install="xattr-cli[tables]", error=JobError
        )
        return parquet.ParquetWriter(path, schema, compression="zstd")


@EXPORTERS.register("csv")
class CsvExporter(LongTable):
    """A CSV table with a line per row, engine and feature, for spreadsheets and R; columns as of `parquet`."""

    suffix = ".csv"

    def open(self, path: Path, schema: Any) -> Any:
        """A CSV writer."""
        csv = import_optional(
            "pyarrow.csv", needed_by="export --to csv", install="xattr-cli[tables]", error=JobError
        )
        return csv.CSVWriter(path, schema)
