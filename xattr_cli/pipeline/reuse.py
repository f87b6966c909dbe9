"""What a job takes over of the finished result that it extends: engines and rows that are computed already."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np

from ..engines.base import LocalEngine, PopulationEngine
from ..engines.sweeps import merge_demands
from ..errors import StoreError
from ..samples import Batch
from ..store import Manifest, ResultColumn, changes
from ..store.axes import is_only_an_axis
from ..store.results.arrays import read_rows
from ..store.results.reader import Results
from .columns import ColumnBuffer
from .explain import explain_rows
from .parts import row_engines
from .session import Session

__all__ = ["Reuse", "explain_part", "taken_over"]

Explained = tuple[dict[str, ResultColumn], Mapping[str, Mapping[str, str]]]


@dataclass(frozen=True)
class Reuse:
    """The part of a finished result that a larger job asks for again.

    Attributes:
        results: the open file.
        labels: engines that are in it with the very options that the job has.
        rows: how many of the first rows of the job it has.
        total: rows of the job.
        new: engines that explain rows and are not in it.
    """

    results: Results
    labels: tuple[str, ...]
    rows: int
    total: int
    new: tuple[str, ...]

    def __str__(self) -> str:
        computed = [f"{', '.join(self.new)} of all rows"] if self.new else []
        computed += [f"all engines of {self.total - self.rows} rows"] if self.total > self.rows else []
        return f"reused: {', '.join(self.labels)} of {self.rows} rows; computed: {' and '.join(computed)}"

    def only_new(self, session: Session) -> Session:
        """The session that makes no sweep for an engine that is taken over."""
        engines = {label: engine for label, engine in row_engines(session.job).items() if label in self.new}
        paths = [engine.path() for engine in engines.values() if isinstance(engine, LocalEngine)]
        return replace(session, sweeps=merge_demands(paths))

    def columns(self, rows: slice) -> Explained:
        """What the engines that are taken over say of some rows, as columns of a part and attributes of groups."""
        columns: dict[str, ResultColumn] = {}
        attributes: dict[str, dict[str, str]] = {}
        for path, data in self.results.datasets().items():
            first, _, rest = path.partition("/")
            label = rest.partition("/")[0]
            if first != "engines" or label not in self.labels or is_only_an_axis(data):
                continue
            axes = tuple(axis.label for axis in data.dims)
            per_row = bool(axes) and axes[0] == "row"
            values = _values(data, rows if per_row else None)
            columns[path] = ResultColumn(values, "rows" if per_row else "constant", axes if any(axes) else ())
            attributes.setdefault(f"engines/{label}", dict(data.file[f"engines/{label}"].attrs))
        return columns, attributes

    def fits(self, columns: Mapping[str, ResultColumn], rows: slice) -> bool:
        """Whether rows that were just read are the ones of the file: the same samples and outputs."""
        there = self.results.rows
        pairs = (("rows/sample", there.sample), ("rows/target", there.target))
        return all(np.array_equal(columns[name].values, known[rows]) for name, known in pairs)


@contextmanager
def taken_over(session: Session, asked: Manifest, *, overwrite: bool) -> Iterator[Reuse | None]:
    """What the result at the job's output has of the job, if the job extends it; None if it does not.

    A job extends a result by more engines, or by more samples (`limit`) of the same data: model, target, score and
    everything else that decides a number are the same, and nothing that the result has is left out.
    """
    output = session.job.output.path
    try:
        results = None if overwrite or not output.exists() else Results.open(output)
    except StoreError:  # another file; who writes the result says so
        results = None
    if results is None:
        yield None
        return
    with results:
        yield _reuse(results, session, asked)


def explain_part(session: Session, rows: slice, batch: Batch | None, reuse: Reuse | None) -> Explained:
    """The columns of a part, computed but for what is taken over."""
    if reuse is None or rows.start >= reuse.rows:
        return explain_rows(session, rows, batch=batch)
    known = slice(rows.start, min(rows.stop, reuse.rows))
    columns, attributes = explain_rows(
        reuse.only_new(session), known, reuse.new, batch=batch if known == rows else None
    )
    if not reuse.fits(columns, known):
        return explain_rows(session, rows, batch=batch)
    taken, about = reuse.columns(known)
    columns, attributes = {**columns, **taken}, {**attributes, **about}
    if known == rows:
        return columns, attributes
    rest, _ = explain_rows(session, slice(known.stop, rows.stop))
    gathered = ColumnBuffer(rows.stop - rows.start)
    gathered.add(columns)
    gathered.add(rest)
    return gathered.columns(), attributes


def _reuse(results: Results, session: Session, asked: Manifest) -> Reuse | None:
    identity = results.attributes.get("job_identity")
    if identity is None or "combined_from" in results.attributes:
        return None
    stored: dict[str, Any] = json.loads(identity)
    hashes = (results.attributes.get("checkpoint_hash"), results.attributes.get("dataset_hash"))
    if hashes != (asked.checkpoint_hash, asked.dataset_hash):
        return None
    if changes(_frame(stored, stored["engines"]), _frame(asked.identity, stored["engines"])):
        return None
    engines = session.job.engines
    labels = [label for label in stored["engines"] if not isinstance(engines[label], PopulationEngine)]
    new = [label for label in row_engines(session.job) if label not in labels]
    rows, total = len(results.rows), session.parts.rows
    is_more = (new or rows < total) and rows <= total
    return Reuse(results, tuple(labels), rows, total, tuple(new)) if labels and rows and is_more else None


def _frame(identity: Mapping[str, Any], engines: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same: all but the number of samples, the storage, and engines beyond `engines`."""
    kept = {key: value for key, value in identity.items() if key != "output"}
    kept["dataset"] = {key: value for key, value in identity["dataset"].items() if key != "limit"}
    for key in ("engines", "baseline_files"):
        kept[key] = {label: value for label, value in identity.get(key, {}).items() if label in engines}
    return kept


def _values(data: h5py.Dataset, rows: slice | None) -> np.ndarray:
    if h5py.check_string_dtype(data.dtype) is not None:
        return np.asarray(data.asstr()[() if rows is None else rows], dtype=object)
    return np.asarray(data[()]) if rows is None else read_rows(data, rows)
