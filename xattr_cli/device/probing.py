"""What a few forward passes tell about a network: kinks, rows per call, and whether padding may be left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import Interrupted
from .curvature.smoothness import kinked_operations
from .packing import activation_bytes, automatic_rows
from .scorer import Scorer

__all__ = ["bears_shortening", "find_kinks", "row_activations", "rows_per_call"]


def find_kinks(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Operations of the network that may have kinks; none means that it is smooth.

    Arguments:
        scorer: the network.
        points, context: (n, D) rows of some samples, and what goes with them.
    """
    leaf, forward = _forward(scorer, points, context)
    return tuple(kinked_operations(forward, leaf))


def row_activations(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> int:
    """Bytes that a row of a device call leaves for its backward pass.

    Arguments:
        scorer: the network.
        points, context: (n, D) rows of some samples, and what goes with them.
    """
    rows = scorer.packing.rows if scorer.packing.fixed else len(points)
    return activation_bytes(_forward(scorer, points, context)[1], rows)


def rows_per_call(scorer: Scorer, activations: int) -> int:
    """Rows per device call that suit the network and the device; see `automatic_rows`.

    Arguments:
        scorer: the network.
        activations: bytes that a row leaves for the backward pass.
    """
    # a row also takes a point, its leaf copy, a gradient and its weighted copy
    bytes_per_row = activations + 4 * scorer.dtype.itemsize * scorer.layout.size
    weight_bytes = sum(p.numel() * p.element_size() for p in scorer.module.parameters())
    return automatic_rows(bytes_per_row, weight_bytes, scorer.device)


def bears_shortening(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> bool:
    """Whether rows score the same without the padding at their end: then calls need be no longer than their rows.

    Arguments:
        scorer: the network; its `shortens` is not looked at.
        points, context: (n, D) rows of the same real length, and what goes with them.
    """
    for at in (points, points / 2):
        whole = _scores(scorer, at, context, shortens=False)
        try:
            short = _scores(scorer, at, context, shortens=True)
        except Interrupted:
            raise
        except Exception:  # it takes no other length, and says so in whatever way it likes
            return False
        if bool(((short - whole).abs() > 1e-5 * whole.abs().max()).any()):
            return False
    return True


def _scores(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor], *, shortens: bool) -> Tensor:
    return replace(scorer, shortens=shortens).scores(points, context)


def _forward(scorer: Scorer, points: Tensor, context: Mapping[str, Tensor]) -> tuple[Tensor, Callable[[], Tensor]]:
    """A leaf, and the forward pass that begins at it."""
    rows = scorer.packing.rows if scorer.packing.fixed else len(points)
    filled, filling = scorer.fill(points, context, rows)
    leaf = filled.detach().requires_grad_()

    def forward() -> Tensor:
        with torch.enable_grad(), scorer.exact_arithmetic():
            return scorer.graded(leaf, filling)

    return leaf, forward
