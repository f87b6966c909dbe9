"""What one forward pass tells about a network: whether it has kinks, and how many rows a call should take."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .packing import activation_bytes, automatic_rows
from .scorer import Scorer
from .smoothness import kinked_operations

__all__ = ["find_kinks", "rows_per_call"]


def find_kinks(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Operations of the network that may have kinks; none means that it is smooth.

    Arguments:
        scorer: the network.
        points, context: (n, D) rows of some samples, and what goes with them.
    """
    return tuple(kinked_operations(_forward(scorer, points, context)))


def rows_per_call(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> int:
    """Rows per device call that suit the network and the device; see `automatic_rows`.

    Arguments:
        scorer: the network.
        points, context: (n, D) rows of some samples, and what goes with them.
    """
    # a row also takes a point, its leaf copy, a gradient and its weighted copy
    bytes_per_row = activation_bytes(_forward(scorer, points, context), len(points))
    bytes_per_row += 4 * points.element_size() * scorer.layout.size
    weight_bytes = sum(p.numel() * p.element_size() for p in scorer.module.parameters())
    return automatic_rows(bytes_per_row, weight_bytes, scorer.device)


def _forward(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> Callable[[], Tensor]:
    rows = scorer.packing.rows if scorer.packing.fixed else len(points)
    filled, filling = scorer.fill(points, context, rows)

    def forward() -> Tensor:
        with torch.enable_grad(), scorer.exact_arithmetic():
            return scorer.outputs(filled.detach().requires_grad_(), filling)

    return forward
