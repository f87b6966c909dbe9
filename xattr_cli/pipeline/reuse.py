"""What a job takes over of the finished result that it extends: engines and rows that are computed already."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np

from ..engines.alternatives import path_requests
from ..engines.base import PopulationEngine
from ..engines.sweeps import merge_demands
from ..errors import StoreError
from ..samples import Batch
from ..store import Manifest, ResultColumn, changes, code_changes
from ..store.axes import is_only_an_axis
from ..store.results.arrays import read_rows
from ..store.results.reader import Results
from .columns import ColumnBuffer
from .explain import explain_rows
from .parts import row_engines
from .session import Session

__all__ = ["Reuse", "explain_part", "taken_over"]

_LOG = logging.getLogger(__name__)

Explained = tuple[dict[str, ResultColumn], Mapping[str, Mapping[str, str]]]


@dataclass(frozen=True)
class Reuse:
    """The part of a finished result that a larger job asks for again.

    Attributes:
        results: the open file.
        labels: engines that are in it with the very options that the job has.
        new: engines that explain rows and are not in it.
        places: (rows of the job,) int64, where the file has each row, -1 if it has not.
        known: how many of the first rows are of samples that the file has.
        more: outputs of these samples that it has not, in the order of the job.
    """

    results: Results
    labels: tuple[str, ...]
    new: tuple[str, ...]
    places: np.ndarray
    known: int
    more: tuple[int, ...]

    def __str__(self) -> str:
        missing = int((self.places < 0).sum())
        computed = [f"{', '.join(self.new)} of all rows"] if self.new else []
        computed += [f"all engines of {missing} rows"] if missing else []
        taken = f"{', '.join(self.labels)} of {len(self.places) - missing} rows"
        return f"reused: {taken}; computed: {' and '.join(computed)}"

    @property
    def is_whole(self) -> bool:
        """Whether the file has every row of the job."""
        return bool((self.places >= 0).all())

    def only_new(self, session: Session) -> Session:
        """The session that makes no sweep for an engine that is taken over."""
        engines = {label: engine for label, engine in row_engines(session.job).items() if label in self.new}
        return replace(session, sweeps=merge_demands(path_requests(engines.values())))

    def other_targets(self, session: Session) -> Session:
        """The session that explains those outputs only that the file does not have."""
        asked = {"select": "index", "index": self.more, "count": 0, "column": ""}
        target = session.job.target.model_copy(update=asked)
        job = session.job.model_copy(update={"target": target})
        probe = replace(session.probe, targets=replace(session.probe.targets, index=self.more))
        return replace(session, job=job, probe=probe, parts=replace(session.parts, rows_per_sample=len(self.more)))

    def columns(self, places: np.ndarray) -> Explained:
        """What the engines that are taken over say of rows of the file: columns and attributes of groups."""
        columns: dict[str, ResultColumn] = {}
        attributes: dict[str, dict[str, str]] = {}
        for path, data in self.results.datasets().items():
            first, _, rest = path.partition("/")
            label = rest.partition("/")[0]
            if first != "engines" or label not in self.labels or is_only_an_axis(data):
                continue
            axes = tuple(axis.label for axis in data.dims)
            per_row = bool(axes) and axes[0] == "row"
            values = _values(data, places if per_row else None)
            columns[path] = ResultColumn(values, "rows" if per_row else "constant", axes if any(axes) else ())
            attributes.setdefault(f"engines/{label}", dict(data.file[f"engines/{label}"].attrs))
        return columns, attributes

    def fits(self, columns: Mapping[str, ResultColumn], places: np.ndarray) -> bool:
        """Whether rows that were just read are the ones of the file: the same samples and outputs."""
        there, has = self.results.rows, places >= 0
        pairs = (("rows/sample", there.sample), ("rows/target", there.target))
        return all(np.array_equal(columns[name].values[has], known[places[has]]) for name, known in pairs)


@contextmanager
def taken_over(session: Session, asked: Manifest, *, overwrite: bool) -> Iterator[Reuse | None]:
    """What the result at the job's output has of the job, if the job extends it; None if it does not.

    A job extends a result by more engines, more samples (`limit`) of the same data, or more outputs (`target`):
    model, score and all else that decides a number are the same, and nothing that the result has is left out.
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
        try:
            reuse = _reuse(results, session, asked)
        except (AttributeError, KeyError, TypeError, ValueError):  # attributes that no run of ours has written
            reuse = None
        yield reuse if reuse is None or _is_sound(results) else None


def _is_sound(results: Results) -> bool:
    """Whether a file is to the bit what was written; what is not would be handed on."""
    try:
        results.verify_checksums()
    except StoreError as error:
        _LOG.warning("nothing is reused: %s", error)
        return False
    return True


def explain_part(
    session: Session,
    rows: slice,
    batch: Batch | None,
    reuse: Reuse,
    *,
    told: Callable[[float], None] = lambda rows: None,
) -> Explained:
    """The columns of a part, computed but for what is taken over."""
    if rows.start >= reuse.known:
        return explain_rows(session, rows, batch=batch, told=told)
    stored = slice(rows.start, min(rows.stop, reuse.known))
    places = reuse.places[stored]
    own = batch if stored == rows else None
    columns, attributes = explain_rows(reuse.only_new(session), stored, reuse.new, batch=own)
    if not reuse.fits(columns, places):
        return explain_rows(session, rows, batch=batch, told=told)
    taken, about = reuse.columns(places[places >= 0])
    columns, attributes = {**columns, **_completed(session, stored, reuse, taken)}, {**attributes, **about}
    if stored == rows:
        return columns, attributes
    rest, _ = explain_rows(session, slice(stored.stop, rows.stop))
    gathered = ColumnBuffer(rows.stop - rows.start)
    gathered.add(columns)
    gathered.add(rest)
    return gathered.columns(), attributes


def _completed(
    session: Session, rows: slice, reuse: Reuse, taken: dict[str, ResultColumn]
) -> dict[str, ResultColumn]:
    """Columns that are taken over, with the rows between them of outputs that the file does not have."""
    missing = np.flatnonzero(reuse.places[rows] < 0)
    if not len(missing):
        return taken
    # without the outputs that the file has, the others of consecutive rows are consecutive too
    first = int((reuse.places[: rows.start] < 0).sum())
    others, _ = explain_rows(reuse.other_targets(session), slice(first, first + len(missing)), reuse.labels)
    there = np.flatnonzero(reuse.places[rows] >= 0)
    return {path: _interleaved(column, there, others[path], missing) for path, column in taken.items()}


def _interleaved(column: ResultColumn, at: np.ndarray, other: ResultColumn, between: np.ndarray) -> ResultColumn:
    if column.axis != "rows":
        return column
    values = np.empty((len(at) + len(between), *column.values.shape[1:]), column.values.dtype)
    values[at], values[between] = column.values, other.values
    return replace(column, values=values)


def _reuse(results: Results, session: Session, asked: Manifest) -> Reuse | None:
    identity = results.attributes.get("job_identity")
    if identity is None or "combined_from" in results.attributes:
        return None
    stored: dict[str, Any] = json.loads(identity)
    hashes = (results.attributes.get("checkpoint_hash"), results.attributes.get("dataset_hash"))
    if hashes != (asked.checkpoint_hash, asked.dataset_hash):
        return None
    asks, has = _outputs(asked.identity["target"], session), _outputs(stored["target"], session)
    same_target = stored["target"] == asked.identity["target"]
    if not same_target and (asks is None or has is None or not {*has} <= {*asks}):
        return None
    if changes(_frame(stored, stored["engines"]), _frame(asked.identity, stored["engines"])):
        return None
    if other := _other_code(json.loads(results.attributes.get("code", "{}")), asked.code):
        _LOG.warning("nothing is reused: other code computed %s: %s", results.path, "; ".join(other))
        return None
    engines = session.job.engines
    labels = tuple(label for label in stored["engines"] if not isinstance(engines[label], PopulationEngine))
    new = tuple(label for label in row_engines(session.job) if label not in labels)
    per_sample = session.parts.rows_per_sample
    kept = (
        range(per_sample)
        if same_target
        else [has.index(n) if n in has else -1 for n in asks or () if has is not None]
    )
    places = _places(len(results.rows), session.parts.rows, np.array(kept))
    known = len(results.rows) // max(1, sum(place >= 0 for place in kept)) * per_sample
    if session.parts.counts is not None:  # the rows of the file are those of its samples, however many each has
        places = _places(len(results.rows), session.parts.rows, np.array([0]))
        known = len(results.rows)
    more = () if same_target else tuple(n for n in asks or () if has is not None and n not in has)
    is_more = known <= len(places) and (new or (places < 0).any())
    return Reuse(results, labels, new, places, known, more) if labels and known and is_more else None


def _other_code(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """How the code differs that made the result; an added engine may bring a module of its own."""
    modules = {
        name: source for name, source in asked.get("modules", {}).items() if name in stored.get("modules", {})
    }
    return code_changes(stored, {**asked, "modules": modules})


def _outputs(target: Any, session: Session) -> list[int] | None:
    """The outputs that every sample is explained for, in order; None if they differ from sample to sample."""
    if target == "all":
        return list(range(session.parts.rows_per_sample))
    if not isinstance(target, dict) or set(target) != {"index"}:
        return None
    numbers = [place for place in target["index"] if isinstance(place, int)]
    return numbers if len(numbers) == len(target["index"]) else None


def _places(stored: int, rows: int, kept: np.ndarray) -> np.ndarray:
    """(rows,) int64, where a file of `stored` rows has the rows of a job, -1 where it has not.

    Arguments:
        kept: for each row of a sample in the job, which one of the file's rows of that sample it is; -1 for none.
    """
    per_sample = int((kept >= 0).sum())
    sample, row = np.divmod(np.arange(rows), len(kept))
    place = np.where(kept[row] >= 0, sample * per_sample + kept[row], -1)
    return np.where(place < stored, place, -1)


def _frame(identity: Mapping[str, Any], engines: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same: all but added samples and outputs, the storage, and engines beyond `engines`."""
    kept = {key: value for key, value in identity.items() if key != "output"}
    del kept["target"]  # compared by the caller
    kept["dataset"] = {key: value for key, value in identity["dataset"].items() if key != "limit"}
    for key in ("engines", "baseline_files"):
        kept[key] = {label: value for label, value in identity.get(key, {}).items() if label in engines}
    return kept


def _values(data: h5py.Dataset, places: np.ndarray | None) -> np.ndarray:
    if h5py.check_string_dtype(data.dtype) is not None:
        values = np.asarray(data.asstr()[()], dtype=object)
        return values if places is None else values[places]
    return np.asarray(data[()]) if places is None else read_rows(data, places)
