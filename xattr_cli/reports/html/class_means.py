"""The mean map of every class, read in slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results

__all__ = ["ClassMean", "class_means", "frequent_targets"]


@dataclass(frozen=True)
class ClassMean:
    """What an engine says about a target on average.

    Attributes:
        target: the explained output.
        rows: how many rows explain it, without quarantined ones.
        mean: (*shape) signed mean of their maps.
    """

    target: int
    rows: int
    mean: np.ndarray


def frequent_targets(results: Results, most: int) -> list[int]:
    """The targets of most rows, in the order of their numbers."""
    counts = Counter(results.rows.target.tolist())
    return sorted(target for target, _ in counts.most_common(most))


def class_means(results: Results, engine: EngineResults, tensor: str, targets: Sequence[int]) -> list[ClassMean]:
    """The mean map of each target that has rows, in one pass over the file."""
    totals = {target: np.zeros(engine.tensors[tensor]) for target in targets}
    counts = dict.fromkeys(targets, 0)
    good = engine.status != Status.QUARANTINED
    for part, values in engine.blocks(tensor):
        for target in targets:
            chosen = good[part] & (results.rows.target[part] == target)
            if chosen.any():
                totals[target] += values[chosen].sum(axis=0, dtype=np.float64)
                counts[target] += int(np.count_nonzero(chosen))
    return [
        ClassMean(target, counts[target], totals[target] / counts[target]) for target in targets if counts[target]
    ]
