"""Shapley values from all subsets, or from random orders and their reverses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...numerics.sensitivity.shapley import memberships, shapley_values
from ...numerics.student import NORMAL_95, student_factor
from ...samples import Status
from .coalitions import Coalitions

__all__ = ["Values", "exact_values", "sampled_values"]

FIRST_PAIRS = 8
"""Of orders and their reverses in the first round; then they double."""


@dataclass(frozen=True)
class Values:
    """Shapley values of the groups of every row.

    Attributes:
        values, standard_error: (rows, groups) float64.
        relative_error: (rows,) float64, bound on the L2 error of the values, at the 95th percentile.
        evaluations: (rows,) scores that each row took.
        score_input, score_baseline: (rows,).
        status: (rows,) int8.
    """

    values: Tensor
    standard_error: Tensor
    relative_error: Tensor
    evaluations: Tensor
    score_input: Tensor
    score_baseline: Tensor
    status: Tensor


def exact_values(game: Coalitions) -> Values:
    """The values, from the worths of all subsets."""
    rows, device = len(game.block.rows), game.block.inputs.device
    kept = memberships(game.groups).to(device)
    worths = game.worths(game.every_row(), len(kept), lambda number: kept[number % len(kept)])
    values = shapley_values(worths.T).T
    nothing = torch.zeros(rows, dtype=torch.float64, device=device)
    return Values(
        values=values,
        standard_error=torch.zeros_like(values),
        relative_error=nothing,
        evaluations=nothing.long() + len(kept),
        score_input=worths[:, -1].to(game.block.inputs.dtype),
        score_baseline=worths[:, 0].to(game.block.inputs.dtype),
        status=nothing.to(torch.int8) + int(Status.CONVERGED),
    )


class _Tally:
    """Means and squares of the gains of pairs of orders, row by row."""

    def __init__(self, rows: int, groups: int, device: torch.device) -> None:
        self.pairs = torch.zeros(rows, dtype=torch.int64, device=device)
        self.mean = torch.zeros(rows, groups, dtype=torch.float64, device=device)
        self.squares = torch.zeros_like(self.mean)

    def add(self, rows: Tensor, gains: Tensor) -> None:
        """Gains (rows, pairs, groups) of as many rows."""
        count = gains.shape[1]
        before, after = self.pairs[rows, None], self.pairs[rows, None] + count
        mean = gains.mean(dim=1)
        apart = mean - self.mean[rows]
        self.squares[rows] += (
            gains.sub(mean[:, None]).square().sum(dim=1) + apart.square() * before * count / after
        )
        self.mean[rows] += apart * count / after
        self.pairs[rows] += count

    def standard_error(self) -> Tensor:
        """(rows, groups) of the means."""
        pairs = self.pairs[:, None].double()
        return (self.squares / (pairs - 1) / pairs).clamp(min=0).sqrt()


def sampled_values(game: Coalitions, *, rtol: float, most: int) -> Values:
    """The values from random orders, each with its reverse, as many as a row takes.

    Arguments:
        game: the rows and their groups.
        rtol: relative L2 error at which a row stops.
        most: scores per row.
    """
    rows, groups, device = len(game.block.rows), game.groups, game.block.inputs.device
    ends = game.worths(game.every_row(), 2, lambda number: (number[:, None] % 2 == 1).expand(-1, groups))
    tally, per_pair = _Tally(rows, groups, device), 2 * (groups - 1)
    open_rows, stream = game.every_row(), 0
    pairs = max(2, min(FIRST_PAIRS, (most - 2) // per_pair))
    while (len(open_rows) and (int(tally.pairs[open_rows[0]]) + pairs) * per_pair + 2 <= most) or stream == 0:
        gains = _gains(game, open_rows, ends, pairs, stream)
        tally.add(open_rows, gains)
        error = _relative_error(tally)
        open_rows = open_rows[~(error[open_rows] <= rtol) & torch.isfinite(tally.mean[open_rows]).all(dim=1)]
        pairs, stream = (int(tally.pairs.max()) if len(open_rows) else 0), stream + 1
    error = _relative_error(tally)
    converged = error <= rtol
    dtype = game.block.inputs.dtype
    return Values(
        values=tally.mean,
        standard_error=tally.standard_error(),
        relative_error=error,
        evaluations=tally.pairs * per_pair + 2,
        score_input=ends[:, 1].to(dtype),
        score_baseline=ends[:, 0].to(dtype),
        status=torch.where(converged, int(Status.CONVERGED), int(Status.NOT_CONVERGED)).to(torch.int8),
    )


def _relative_error(tally: _Tally) -> Tensor:
    size = torch.linalg.vector_norm(tally.mean, dim=1)
    error = torch.linalg.vector_norm(tally.standard_error(), dim=1)
    quantile = torch.tensor(
        [NORMAL_95 * student_factor(int(pairs) - 1) for pairs in tally.pairs.tolist()],
        dtype=torch.float64,
        device=size.device,
    )
    return torch.where(error > 0, quantile * error / size, 0.0)


def _gains(game: Coalitions, rows: Tensor, ends: Tensor, pairs: int, stream: int) -> Tensor:
    """(rows, pairs, groups) mean gain of each group in an order and in its reverse."""
    groups, device = game.groups, game.block.inputs.device
    orders = np.empty((len(rows), pairs, groups), np.int64)
    for place, row in enumerate(rows.tolist()):
        generator = game.block.generator(row, stream)
        orders[place] = generator.permuted(np.tile(np.arange(groups), (pairs, 1)), axis=1)
    rank = torch.from_numpy(orders.argsort(axis=2)).to(device)  # when each group joins
    rank = torch.stack([rank, groups - 1 - rank], dim=2)  # (rows, pairs, 2, groups)
    flat = rank.flatten(0, 2)

    def kept(number: Tensor) -> Tensor:
        return flat[number // (groups - 1)] <= number[:, None] % (groups - 1)

    worths = game.worths(rows, pairs * 2 * (groups - 1), kept).view(len(rows), pairs, 2, groups - 1)
    first, last = (ends[rows, end, None, None, None].expand(-1, pairs, 2, 1) for end in (0, 1))
    steps = torch.cat([first, worths, last], dim=3).diff(dim=3)
    return steps.gather(3, rank).mean(dim=2)
