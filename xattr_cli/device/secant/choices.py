"""Functions that choose between values: pools, maxima, `where`. What their winners share of a difference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .bends import MANY
from .pairs import Pairs

__all__ = ["Choice", "Envelope", "Largest"]

BETWEEN = 2
"""Winners between the first and the last one of a cell that are looked for; more are seldom."""
ROUNDING = 16
"""Units in the last place by which two of them may meet too early."""


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


class Envelope(torch.autograd.Function):
    """y = max or min of x along its last axis, whose gradient the winners share by time.

    Where all numbers move on straight lines, y is their envelope: it follows each winner until the next one
    passes. A cell of up to `BETWEEN` winners beside the two at its ends is integrated exactly; and the sum of what
    the winners add is the difference of y, whatever happens between both ends.

    The two winners at the ends alone would not do: a third one is as unseen in the parts of a cell as in the cell,
    and maps of maxout layers were off by up to 120 % where .2 % was reported.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, sign: int, pairs: Pairs) -> Tensor:
        """(…, 1) of x (…, n).

        Arguments:
            sign: 1 for the largest, −1 for the smallest.
        """
        where = (sign * x).argmax(-1, keepdim=True)
        ctx.sign, ctx.pairs = sign, pairs
        ctx.save_for_backward(x, where)
        return x.gather(-1, where)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of every cell, at its left end."""
        x, where = ctx.saved_tensors
        pairs: Pairs = ctx.pairs
        (x_a, x_b), (first, last) = pairs.ends(x), pairs.ends(where)
        found, weight = torch.zeros_like(x), pairs.cells(gradient)
        turns = (first != last).squeeze(-1)
        shares, crowded = _shares(ctx.sign * x_a[turns], ctx.sign * x_b[turns], first[turns], last[turns])
        into = pairs.cells(found).scatter_(-1, first, weight)
        into[turns] = shares * weight[turns]
        if pairs.watched and pairs.bends is not None:
            felt, many = (weight != 0).squeeze(-1), turns
            if not pairs.bends.seen:
                many = torch.zeros_like(turns)
                many[turns] = crowded
            # where one turns, what follows may pass a kink and come back; and even one winner may have been passed
            # by another where functions before bend
            pairs.bend(many & felt)
            pairs.bend(felt)
        return found, None, None


def _shares(a: Tensor, b: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """(k, n) how long each number is the largest on its straight way from a to b, and (k,) whether more have been.

    Arguments:
        a, b: (k, n).
        first, last: (k, 1) int64, which one is the largest of a, and of b.

    Example:
        >>> a, b = torch.tensor([[0.0, -1.0, -4.0]]), torch.tensor([[0.0, 1.0, 4.0]])
        >>> shares, more = _shares(a, b, torch.tensor([[0]]), torch.tensor([[2]]))
        >>> shares.tolist(), more.tolist()
        ([[0.5, 0.0, 0.5]], [False])
    """
    slope, shares = b - a, torch.zeros_like(a)
    now, since = first, a.new_zeros(len(a), 1)
    for _ in range(BETWEEN):
        passed, by = _passed(a, slope, now, since).min(-1, keepdim=True)
        until = torch.where(now == last, 1.0, passed.clamp(max=1))
        shares.scatter_add_(-1, now, until - since)
        now, since = torch.where(now == last, now, by), until
    passed = _passed(a, slope, now, since)
    until = passed.gather(-1, last).clamp(max=1)
    more = (passed.amin(-1, keepdim=True) < until - ROUNDING * torch.finfo(a.dtype).eps).squeeze(-1)
    shares.scatter_add_(-1, now, until - since).scatter_add_(-1, last, 1 - until)
    return shares, more


def _passed(a: Tensor, slope: Tensor, now: Tensor, since: Tensor) -> Tensor:
    """(k, n) when each number passes the one that is the largest since; never, if it is not steeper."""
    steeper = slope - slope.gather(-1, now)
    when = (a.gather(-1, now) - a) / steeper
    return torch.where(steeper > 0, when.nan_to_num(nan=torch.inf, posinf=torch.inf), torch.inf).maximum(since)


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
