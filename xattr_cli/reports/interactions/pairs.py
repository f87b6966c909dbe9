"""How strong pairs of features interact over many rows, with intervals; read in slices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...store.results.arrays import RowChoice
from ...store.results.engines import EngineResults
from ...store.results.interactions import InteractionResults
from ...store.results.reader import Results
from ..drawing.importance import entry_errors, mean_interval
from ..drawing.words import shorten

__all__ = ["PairStrengths", "brief", "matrix_errors", "pair_errors", "pair_strengths", "pair_sums"]

_AXIS = re.compile(r"(?<=[\[ ])[a-z]+ (?=\d+[,\]])")


@dataclass(frozen=True)
class PairStrengths:
    """Interactions with one target, over its rows.

    Attributes:
        target: the explained output.
        rows: how many rows explain it, without quarantined ones.
        matrix: (groups, groups), mean |Γ|.
        pairs: (pairs, 2) int64, pairs i < j, the strongest first.
        mean: (pairs,) mean |Γ_ij + Γ_ji|, what the pair does together beyond what each does alone.
        signed: (pairs,) mean of Γ_ij + Γ_ji.
        interval: (pairs,) half the 95 % interval of `mean`: spread over the rows, and their error bars.
    """

    target: int
    rows: int
    matrix: np.ndarray
    pairs: np.ndarray
    mean: np.ndarray
    signed: np.ndarray
    interval: np.ndarray


def pair_strengths(results: Results, engine: EngineResults, targets: Sequence[int]) -> list[PairStrengths]:
    """The strengths of all pairs for each target that has rows, in one pass over the file.

    Arguments:
        engine: with square matrices of the same groups in all rows.
    """
    interactions = _interactions(engine)
    tallies = {target: _Tally(interactions.shape[0]) for target in targets}
    for part, matrices in interactions.blocks():
        errors = pair_errors(engine, part, matrices)
        finite = np.isfinite(matrices).all(axis=(1, 2))
        for target, tally in tallies.items():
            chosen = finite & (results.rows.target[part] == target)
            tally.add(matrices[chosen].astype(np.float64), errors[chosen])
    return [tally.strengths(target) for target, tally in tallies.items() if tally.count]


def pair_sums(matrices: np.ndarray) -> np.ndarray:
    """(rows, groups, groups), Γ_ij + Γ_ji: both halves of what a pair does together."""
    return np.asarray(matrices + matrices.swapaxes(1, 2))


def matrix_errors(engine: EngineResults, rows: RowChoice, matrices: np.ndarray) -> np.ndarray:
    """(rows, matrix rows, columns) error of each entry at 95 %, for the `matrices` of those rows."""
    return entry_errors(_interactions(engine).standard_error(rows), engine.relative_error[rows], matrices)


def pair_errors(engine: EngineResults, rows: RowChoice, matrices: np.ndarray) -> np.ndarray:
    """(rows, groups, groups) error of `pair_sums`: the two halves come from the same products, and err alike."""
    return pair_sums(matrix_errors(engine, rows, matrices))


def brief(name: str, width: int) -> str:
    """A name of at most `width` characters; `X[channel 0, height 3]` becomes `X[0, 3]` if it is too long."""
    return name if len(name) <= width else shorten(_AXIS.sub("", name), width)


class _Tally:
    def __init__(self, groups: int) -> None:
        self.first, self.second = np.triu_indices(groups, 1)
        self.count = 0
        self.matrix = np.zeros((groups, groups))
        self.total, self.signed, self.squares, self.errors = np.zeros((4, len(self.first)))

    def add(self, matrices: np.ndarray, errors: np.ndarray) -> None:
        sums = pair_sums(matrices)[:, self.first, self.second]
        self.count += len(matrices)
        self.matrix += np.abs(matrices).sum(axis=0)
        self.total += np.abs(sums).sum(axis=0)
        self.signed += sums.sum(axis=0)
        self.squares += (sums**2).sum(axis=0)
        self.errors += np.nan_to_num(errors[:, self.first, self.second]).sum(axis=0)

    def strengths(self, target: int) -> PairStrengths:
        """Means and intervals; rows may err in the same direction, so their errors do not cancel."""
        mean = self.total / self.count
        interval = mean_interval(self.count, self.total, self.squares, self.errors)
        order = np.argsort(-mean, kind="stable")
        return PairStrengths(
            target=target,
            rows=self.count,
            matrix=self.matrix / self.count,
            pairs=np.stack([self.first, self.second], axis=1)[order],
            mean=mean[order],
            signed=(self.signed / self.count)[order],
            interval=interval[order],
        )


def _interactions(engine: EngineResults) -> InteractionResults:
    if engine.interactions is None:
        raise ValueError(f"{engine.label} leaves no interactions")
    return engine.interactions
