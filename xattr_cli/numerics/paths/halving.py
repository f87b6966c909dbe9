"""Where the next nodes go: into the panels of a path in which they save the most error."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["panels_to_halve"]

LEAST_LEFT = 0.4
"""Share of the squared error that one step leaves, at least: the panels that hold most of it come first, and what
is learnt of them decides about the others. On a steep path (an LSTM's) this halves the number of nodes.
"""


def panels_to_halve(squares: Tensor, cells: Tensor, share: Tensor, budget: Tensor) -> Tensor:
    """The panels whose cells are halved next: so many as bring the error down to a share of itself, or fewer.

    Halving every cell of a panel halves the error of its jumps. Greedily, the panel that saves the most
    squared error per node comes first. Few nodes know too little to place many: a panel is halved once at a
    time, and those that hold four fifths of the squared error are enough for one step.

    Arguments:
        squares: (open, panels) float64, squared error of each panel.
        cells: (open, panels) int64.
        share: (open,) wanted of the error, below 1.
        budget: (open,) int64, most new nodes.

    Returns:
        (open, panels) bool; all False in rows whose budget allows nothing.
    """
    halved = torch.zeros_like(cells, dtype=torch.bool)
    left, error = budget.clone(), squares.sum(dim=1)
    wanted = error * share.square().clamp(min=LEAST_LEFT)
    row = torch.arange(len(cells), device=cells.device)
    for _ in range(cells.shape[1]):
        possible = ~halved & (cells <= left[:, None])
        best = (squares / cells).masked_fill(~possible, -1).argmax(dim=1)
        chosen = possible[row, best] & (error >= wanted)
        halved[row, best] |= chosen
        error = error - chosen * squares[row, best] * 3 / 4
        left = left - chosen * cells[row, best]
    return halved
