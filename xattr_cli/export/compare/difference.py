"""What differs between two results: of which jobs they are, which rows they share, and how their maps moved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import StoreError
from ...store.manifest import changes
from ...store.results.arrays import BLOCK_BYTES
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from .effects import EffectDifference, compare_effects
from .maps import MapDifferences, differences
from .matching import Matching, match, sample_names

__all__ = ["EngineDifference", "ResultDifference", "compare"]


@dataclass(frozen=True)
class EngineDifference:
    """How the maps of one engine differ in the rows that two files share.

    Attributes:
        maps: of the matched rows.
        score_change: (rows,) score of the input in B minus that in A.
        status_changed: how many rows ended otherwise (such as converged and quarantined).
    """

    maps: MapDifferences
    score_change: np.ndarray
    status_changed: int

    def summary(self) -> dict[str, Any]:
        """Numbers for people and programs; None where there is none."""
        about = {
            "distance": self.maps.distance,
            "rank_correlation": self.maps.rank_correlation,
            "sign_flips": self.maps.sign_flips,
            "score_change": np.abs(self.score_change),
        }
        return {
            "rows": len(self.maps.distance),
            "judged": int(self.maps.judged.sum()),
            "beyond_error_bars": int(self.maps.beyond.sum()),
            "status_changed": self.status_changed,
            **{name: _spread(values) for name, values in about.items()},
        }


@dataclass(frozen=True)
class ResultDifference:
    """What differs between two results, A and B.

    Attributes:
        a, b: the open files.
        matching: their common rows.
        changed: a line per key of the job, and per hash, that differs.
        moved: (common samples,) bool, whether they have another class, or a value beyond rounding.
        engines: by label, those that both files have with maps of one shape.
        effects: by label of an engine that studies the whole dataset, and by name of an array.
        not_compared: label → why.
    """

    a: Results
    b: Results
    matching: Matching
    changed: tuple[str, ...]
    moved: np.ndarray
    engines: Mapping[str, EngineDifference]
    effects: Mapping[str, Mapping[str, EffectDifference]]
    not_compared: Mapping[str, str]

    @property
    def predictions_moved(self) -> int:
        """How many of the common samples are predicted otherwise."""
        return int(self.moved.sum())

    @property
    def unmatched(self) -> tuple[int, int]:
        """How many rows only A has, and only B."""
        return len(self.a.rows) - len(self.matching), len(self.b.rows) - len(self.matching)

    @property
    def worst_share(self) -> float:
        """The greatest share of rows that are not what they were, over the engines.

        A row of A counts if its maps differ by more than both error bars, or if B does not explain that output of
        that sample.
        """
        total = max(1, len(self.a.rows))
        beyond = [int(engine.maps.beyond.sum()) for engine in self.engines.values()]
        return (max(beyond, default=0) + self.unmatched[0]) / total

    def summary(self, worst: int = 5) -> dict[str, Any]:
        """All of it as one JSON-able object.

        Arguments:
            worst: how many of the rows that are furthest apart to name, per engine.
        """
        only_a, only_b = self.unmatched
        engines = {
            label: {**engine.summary(), "worst": self._worst(engine, worst)}
            for label, engine in self.engines.items()
        }
        return {
            "a": str(self.a.path),
            "b": str(self.b.path),
            "changed": list(self.changed),
            "rows": {
                "matched": len(self.matching),
                "only_a": only_a,
                "only_b": only_b,
                "matched_by": self.matching.by,
            },
            "samples": len(self.matching.samples[0]),
            "predictions_moved": self.predictions_moved,
            "differing_share": self.worst_share,
            "engines": engines,
            "effects": {label: {k: vars(v) for k, v in arrays.items()} for label, arrays in self.effects.items()},
            "not_compared": dict(self.not_compared),
        }

    def _worst(self, engine: EngineDifference, count: int) -> list[dict[str, Any]]:
        distance = np.nan_to_num(engine.maps.distance, nan=-1.0)
        order = [int(place) for place in np.argsort(-distance, kind="stable")[:count] if distance[place] > 0]
        rows = self.matching.rows[0][order]
        names = sample_names(self.a, rows)
        return [
            {
                "row": int(self.a.rows.id[row]),
                "sample": name,
                "target": int(self.a.rows.target[row]),
                "distance": float(engine.maps.distance[place]),
                "beyond_error_bars": bool(engine.maps.beyond[place]),
            }
            for place, row, name in zip(order, rows, names, strict=True)
        ]


def compare(a: Results, b: Results) -> ResultDifference:
    """Compare two results, block by block.

    Raises:
        StoreError: they have neither a sample nor a study of the whole dataset in common.
    """
    matching = match([a, b])
    shared = [label for label in a.effects if label in b.effects]
    if len(matching.samples[0]) == 0 and not shared:
        raise StoreError(f"{a.path} and {b.path}: have no sample in common (compared by {matching.by}).")
    engines: dict[str, EngineDifference] = {}
    reasons = {label: f"only in {a.path}" for label in a.engines if label not in b.engines}
    reasons |= {label: f"only in {b.path}" for label in b.engines if label not in a.engines}
    for label in a.engines:
        if label not in b.engines:
            continue
        one, two = a.engines[label], b.engines[label]
        if one.tensors != two.tensors:
            reasons[label] = f"maps of {_shapes(one)} and of {_shapes(two)}"
        else:
            engines[label] = _compare_engine(one, two, matching)
    changed = tuple(changes(_identity(a), _identity(b)))
    effects = {label: compare_effects(a.effects[label], b.effects[label]) for label in shared}
    return ResultDifference(a, b, matching, changed, _moved(a, b, matching), engines, effects, reasons)


def _compare_engine(ours: EngineResults, theirs: EngineResults, matching: Matching) -> EngineDifference:
    rows_a, rows_b = matching.rows
    pieces = list(_blocks(ours, theirs, matching))
    names = ("distance", "rank_correlation", "sign_flips", "allowed", "beyond", "judged")
    empty = differences(np.empty((0, 1)), np.empty((0, 1)), np.empty(0), np.empty(0))
    joined = {name: np.concatenate([getattr(piece, name) for piece in [empty, *pieces]]) for name in names}
    return EngineDifference(
        MapDifferences(**joined),
        theirs.score_input[rows_b] - ours.score_input[rows_a],
        int((ours.status[rows_a] != theirs.status[rows_b]).sum()),
    )


def _blocks(ours: EngineResults, theirs: EngineResults, matching: Matching) -> Iterator[MapDifferences]:
    size = sum(int(np.prod(shape)) for shape in ours.tensors.values())
    step = max(1, BLOCK_BYTES // (8 * max(1, size)))
    rows_a, rows_b = matching.rows
    for start in range(0, len(rows_a), step):
        at, bt = rows_a[start : start + step], rows_b[start : start + step]
        yield differences(_flat(ours, at), _flat(theirs, bt), ours.relative_error[at], theirs.relative_error[bt])


def _flat(engine: EngineResults, rows: np.ndarray) -> np.ndarray:
    maps = [engine.attribution(rows, tensor) for tensor in engine.tensors]
    return np.concatenate([values.reshape(len(values), -1) for values in maps], axis=1)


def _moved(a: Results, b: Results, matching: Matching) -> np.ndarray:
    one, two = a.rows.prediction[matching.samples[0]], b.rows.prediction[matching.samples[1]]
    if a.rows.is_regression or b.rows.is_regression:
        return np.asarray(~np.isclose(one, two, rtol=1e-5, atol=1e-6, equal_nan=True))
    return np.asarray(one != two)


def _identity(file: Results) -> dict[str, Any]:
    """What decides the numbers of a result: its job, and the hashes of what that names."""
    attributes = file.attributes
    hashes = {
        key: attributes.get(key) for key in ("checkpoint_hash", "dataset_hash", "package_version", "torch_version")
    }
    identity = attributes.get("job_identity")
    return {**(json.loads(identity) if identity else file.job), **hashes}


def _shapes(engine: EngineResults) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in engine.tensors.items()) or "none"


def _spread(values: np.ndarray) -> dict[str, float] | None:
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return None
    low, median, high = np.quantile(finite, [0.05, 0.5, 0.95])
    return {
        "p5": float(low),
        "median": float(median),
        "p95": float(high),
        "max": float(finite.max()),
        "min": float(finite.min()),
    }
