"""Scores of inputs in which some units are replaced, made on demand and packed into device calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..device import Rows, Scorer

__all__ = ["Chosen", "FeatureReplacement", "perturbed_scores", "replaced_scores", "target_scores"]

Chosen = Callable[[Tensor, Tensor], Tensor]
"""(row, step), both (k,) int64 → (k, units) bool: which units are replaced."""


@dataclass(frozen=True)
class FeatureReplacement:
    """What takes the place of a replaced unit.

    Attributes:
        table: (m, D), the candidates.
        index: (rows, draws) int64, which of them take turns for each row.
    """

    table: Tensor
    index: Tensor

    def part(self, rows: slice) -> FeatureReplacement:
        """That of some of the rows."""
        return FeatureReplacement(self.table, self.index[rows])

    @property
    def draws(self) -> int:
        """Replacements per row."""
        return self.index.shape[1]


def target_scores(scorer: Scorer, rows: Rows) -> np.ndarray:
    """(rows,) float64, f(x) of each row's own target."""
    scores = scorer.scores(rows.inputs, rows.context)
    return _numpy(scores.gather(1, rows.target[:, None])[:, 0])


def replaced_scores(scorer: Scorer, rows: Rows, replacement: FeatureReplacement) -> np.ndarray:
    """(rows, draws) float64, f of each row's replacements themselves, in the row's own context."""
    everything = torch.ones(1, 1, dtype=torch.bool, device=rows.inputs.device)
    of = torch.zeros(rows.inputs.shape[1], dtype=torch.int64, device=rows.inputs.device)
    scores = perturbed_scores(
        scorer, rows, replacement, of, lambda row, step: everything.expand(len(row), 1), steps=1
    )
    return scores[:, 0]


def perturbed_scores(
    scorer: Scorer, rows: Rows, replacement: FeatureReplacement, unit_of: Tensor, chosen: Chosen, *, steps: int
) -> np.ndarray:
    """(rows, steps, draws) float64 scores of each row's own target.

    Points of all rows, steps and draws share device calls and never lie in memory all at once.

    Arguments:
        unit_of: (D,) int64, unit that each number of a row belongs to.
        chosen: which units are replaced.
        steps: points per row and draw.
    """
    draws = replacement.draws

    def call(part: slice, filled: int) -> Tensor:
        place = torch.arange(part.start, part.stop, device=rows.inputs.device)
        row, step, draw = place // (steps * draws), place // draws % steps, place % draws
        replaced = chosen(row, step)[:, unit_of]
        other = replacement.table[replacement.index[row, draw]]
        points = torch.where(replaced, other, rows.inputs[row])
        context = {name: tensor[row] for name, tensor in rows.context.items()}
        scores = scorer.evaluate(points, context, filled)
        return scores.gather(1, rows.target[row][:, None])[:, 0]

    with torch.no_grad(), scorer.exact_arithmetic():
        scores = [rows.inputs.new_empty(0), *scorer.packing.run(len(rows) * steps * draws, call)]
    return _numpy(torch.cat(scores)).reshape(len(rows), steps, draws)


def _numpy(scores: Tensor) -> np.ndarray:
    return np.asarray(scores.cpu().double().numpy())
