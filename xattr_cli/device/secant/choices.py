"""Functions that choose between values: max-pooling, `where`. What two winners share of a difference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .bends import MANY
from .pairs import Pairs

__all__ = ["Choice", "Largest"]


class Largest(torch.autograd.Function):
    """y = x[argmax] of every window, whose gradient the winners at both ends share.

    With winner i at the left end a and j at the right end b, i gets d_a / (d_a + d_b) of the gradient and j the
    rest, where d_a = x_i(a) − x_j(a) and d_b = x_j(b) − x_i(b): then the difference of y is exactly accounted for.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, index: Tensor, axes: int, pairs: Pairs) -> Tensor:
        """(…, *windows) maxima `value` of x (…, *plane); `index` (…, *windows) points into the flattened plane.

        Arguments:
            axes: number of axes of a plane.
        """
        ctx.axes, ctx.pairs, ctx.plane = axes, pairs, x.shape
        ctx.save_for_backward(*(tensor.flatten(-axes) for tensor in (x, index, value)))
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        """The gradient of every cell, at its left end."""
        flat, where, value = ctx.saved_tensors
        pairs: Pairs = ctx.pairs
        (flat_a, flat_b), (where_a, where_b) = pairs.ends(flat), pairs.ends(where)
        value_a, value_b = pairs.ends(value)
        lead_a, lead_b = value_a - flat_a.gather(-1, where_b), value_b - flat_b.gather(-1, where_a)
        weight = pairs.cells(gradient.flatten(-ctx.axes))
        if pairs.watched:  # between two winners there may have been a third one, and between the same one another
            felt = weight != 0
            pairs.bend(felt)
            pairs.bend((where_a != where_b) & felt)
        both = lead_b.add_(lead_a)  # 0 where one wins at both ends
        first = lead_a.div_(both.masked_fill_(both == 0, 1)).mul_(weight)
        found = torch.zeros_like(flat)
        pairs.cells(found).scatter_add_(-1, where_a, first).scatter_add_(-1, where_b, weight - first)
        return found.view(ctx.plane), None, None, None, None


class Choice(torch.autograd.Function):
    """y = a where the condition holds, else b; where it changes on the way, both share the difference of y.

    With D = a − b, which changes its sign on the way where y is continuous: the one chosen first gets
    |D| at the left end over the sum of |D| at both ends. Where D keeps its sign, y jumps, and each gets a half.
    """

    @staticmethod
    def forward(ctx: Any, chosen: Tensor, a: Tensor, b: Tensor, pairs: Pairs, followed: bool) -> Tensor:
        """(*shape), all of one shape.

        Arguments:
            followed: whether the condition is known to depend on what changes along the path.
        """
        ctx.pairs, ctx.followed = pairs, followed
        ctx.save_for_backward(chosen, a - b)
        return torch.where(chosen, a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, Tensor, None, None]:
        """The gradients of every cell, at its left end."""
        chosen, apart = ctx.saved_tensors
        pairs: Pairs = ctx.pairs
        (chosen_a, chosen_b), (apart_a, apart_b) = pairs.ends(chosen), pairs.ends(apart)
        lead_a, lead_b = apart_a.abs(), apart_b.abs()
        both = lead_a + lead_b
        crosses = (both > 0) & (apart_a * apart_b <= 0)
        to_first = torch.where(crosses, lead_a / both, 0.5)
        to_a = torch.where(chosen_a, to_first, 1 - to_first)
        share = torch.where(chosen_a == chosen_b, chosen_a.to(to_a.dtype), to_a)
        if pairs.watched and pairs.bends is not None:
            felt = pairs.cells(gradient) != 0
            changes = (chosen_a != chosen_b) & felt
            pairs.bend(changes)
            strange = pairs.any(felt if ctx.followed else changes) & _is_no_extreme(chosen, apart, pairs)
            pairs.bends.add(strange, functions=MANY)
        found = pairs.of_cells(pairs.cells(gradient) * share, gradient)
        return None, found, pairs.without_last(gradient - found), None, None


def _is_no_extreme(chosen: Tensor, apart: Tensor, pairs: Pairs) -> Tensor:
    """(cells,) bool, whether neither always the larger one nor always the smaller one of both is chosen.

    Then the condition is about something else: it may hold for a while between two nodes, or y jumps where it
    turns.
    """
    larger, differ = chosen == (apart > 0), apart != 0
    against = (torch.logical_or(*pairs.ends(differ & each)) for each in (larger, ~larger))
    return torch.logical_and(*(pairs.any(entries) for entries in against))
