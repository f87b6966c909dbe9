"""The largest of many numbers: each has a share of the gradient for as long as it is the largest one of a cell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .pairs import Pairs

__all__ = ["Envelope"]

BETWEEN = 2
"""Winners between the first and the last one of a cell that are looked for; more are seldom."""
ROUNDING = 16
"""Units in the last place by which two of them may meet too early."""


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
        if pairs.watched:  # even one winner may have been passed by another where functions before bend
            felt = (weight != 0).squeeze(-1)
            pairs.bend(felt)
            many = torch.zeros_like(turns)
            many[turns] = crowded
            pairs.bend(many & felt)
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
