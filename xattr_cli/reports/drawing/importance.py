"""Which features matter over many rows: mean |attribution| with its interval, read in slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...samples import Status
from ...store.results.arrays import RowChoice
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from .selection import spread

__all__ = ["Importance", "attribution_errors", "entry_errors", "importances", "mean_interval"]

_SHOWN_ROWS = 1000
_NORMAL_95 = 1.96


@dataclass(frozen=True)
class Importance:
    """What the features of a table contribute to one target.

    Attributes:
        target: the explained output.
        rows: how many rows explain it, without quarantined ones.
        mean: (features,) mean |attribution|.
        interval: (features,) half the width of the 95 % interval of `mean`: the spread over the rows,
            and the error bars of their maps.
        shown: positions of at most a thousand of the rows, those with stored inputs if there are any.
        attributions: (shown, features), signed.
    """

    target: int
    rows: int
    mean: np.ndarray
    interval: np.ndarray
    shown: np.ndarray
    attributions: np.ndarray

    @property
    def spread(self) -> tuple[np.ndarray, np.ndarray]:
        """(features,) twice: between them lie 95 % of the shown rows' |attribution|."""
        low, high = np.percentile(np.abs(self.attributions), [2.5, 97.5], axis=0)
        return low, high


def importances(results: Results, engine: EngineResults, tensor: str, targets: Sequence[int]) -> list[Importance]:
    """The importance of each feature for each target that has rows, in one pass over the file."""
    features = engine.tensors[tensor][0]
    tallies = {target: _Tally(features) for target in targets}
    for part, values in engine.blocks(tensor):
        errors = attribution_errors(engine, tensor, part, values)
        finite = np.isfinite(values).all(axis=1)
        for target, tally in tallies.items():
            chosen = finite & (results.rows.target[part] == target)
            tally.add(values[chosen], errors[chosen])
    return [_summarise(results, engine, tensor, target, tally) for target, tally in tallies.items() if tally.count]


class _Tally:
    def __init__(self, features: int) -> None:
        self.count = 0
        self.total = np.zeros(features)
        self.squares = np.zeros(features)
        self.errors = np.zeros(features)

    def add(self, values: np.ndarray, errors: np.ndarray) -> None:
        sizes = np.abs(values.astype(np.float64))
        self.count += len(sizes)
        self.total += sizes.sum(axis=0)
        self.squares += (sizes**2).sum(axis=0)
        self.errors += np.nan_to_num(errors).sum(axis=0)


def mean_interval(count: int, total: np.ndarray, squares: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(n,) half a 95 % interval of n means, from sums over rows of the values, their squares and their errors.

    Rows may err in the same direction, so errors do not cancel.
    """
    variance = np.maximum(squares / count - (total / count) ** 2, 0.0) / max(count - 1, 1)
    return np.asarray(np.hypot(_NORMAL_95 * np.sqrt(variance), errors / count))


def attribution_errors(engine: EngineResults, tensor: str, rows: RowChoice, values: np.ndarray) -> np.ndarray:
    """(rows, features) error of each attribution at 95 %, for the attributions `values` of those rows."""
    return entry_errors(engine.standard_error(rows, tensor), engine.relative_error[rows], values)


def entry_errors(standard_error: np.ndarray | None, error: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(rows, ...) error of each of the values (rows, ...) at 95 %.

    Its own standard error where the file has one; else the relative error of a row's values together, (rows,),
    which is known of their length only, in equal shares; NaN where that is unknown.
    """
    if standard_error is not None:
        return np.asarray(_NORMAL_95 * standard_error)
    axes = tuple(range(1, values.ndim))
    sizes = np.linalg.norm(values.astype(np.float64), axis=axes if len(axes) > 1 else 1)
    shares = np.where(np.isfinite(error), error, np.nan) * sizes / np.sqrt(values[0].size)
    return np.broadcast_to(np.expand_dims(shares, axes), values.shape)


def _summarise(results: Results, engine: EngineResults, tensor: str, target: int, tally: _Tally) -> Importance:
    rows = np.flatnonzero((results.rows.target == target) & (engine.status != Status.QUARANTINED))
    stored = rows[np.isin(results.rows.sample[rows], list(results.stored))]
    shown = np.array(spread((stored if len(stored) else rows).tolist(), _SHOWN_ROWS), np.int64)
    values = engine.attribution(shown, tensor).astype(np.float64)
    finite = np.isfinite(values).all(axis=1)
    interval = mean_interval(tally.count, tally.total, tally.squares, tally.errors)
    return Importance(target, tally.count, tally.total / tally.count, interval, shown[finite], values[finite])
