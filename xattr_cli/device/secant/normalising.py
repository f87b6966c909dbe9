"""Softmax and its logarithm: composed of exponentials, their sums, and products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .bends import MANY
from .pairs import Pairs
from .slopes import exp_slope, log_slope

__all__ = ["LogSumExp", "Softmax"]


def _exponentials(a: Tensor, b: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """exp(z − m) at both ends of each cell, with one shift m that cancels in ratios, and the secants."""
    shift = torch.maximum(a.amax(dim, keepdim=True), b.amax(dim, keepdim=True)).nan_to_num(neginf=0.0)
    a, b = a - shift, b - shift
    return a.exp(), b.exp(), exp_slope(a, b)


class Softmax(torch.autograd.Function):
    """y = e / Σ e with e = exp(z): a product of the exponentials and the reciprocal of their sum."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, dim: int, pairs: Pairs) -> Tensor:
        """(*shape) the softmax along an axis."""
        ctx.dim, ctx.pairs = dim, pairs
        ctx.save_for_backward(z)
        return z.softmax(dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of every cell, at its left end."""
        (z,) = ctx.saved_tensors
        pairs: Pairs = ctx.pairs
        weight = pairs.cells(gradient)
        if pairs.watched:
            pairs.bend(weight != 0, functions=MANY)
        e_a, e_b, slope = _exponentials(*pairs.ends(z), ctx.dim)
        sum_a, sum_b = e_a.sum(ctx.dim, keepdim=True), e_b.sum(ctx.dim, keepdim=True)
        to_sum = -(weight * (e_a + e_b)).sum(ctx.dim, keepdim=True) / (2 * sum_a * sum_b)
        found = (weight * ((sum_a + sum_b) / (2 * sum_a * sum_b)) + to_sum) * slope
        return pairs.of_cells(found, z), None, None


class LogSumExp(torch.autograd.Function):
    """y = log Σ exp(z), along an axis that stays."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, dim: int, pairs: Pairs) -> Tensor:
        """(…, 1, …) the logarithms."""
        ctx.dim, ctx.pairs = dim, pairs
        ctx.save_for_backward(z)
        return z.logsumexp(dim, keepdim=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """The gradient of every cell, at its left end."""
        (z,) = ctx.saved_tensors
        pairs: Pairs = ctx.pairs
        if pairs.watched:
            pairs.bend(pairs.cells(gradient) != 0, functions=MANY)
        e_a, e_b, slope = _exponentials(*pairs.ends(z), ctx.dim)
        to_sum = log_slope(e_a.sum(ctx.dim, keepdim=True), e_b.sum(ctx.dim, keepdim=True))
        return pairs.of_cells(pairs.cells(gradient) * to_sum * slope, z), None, None
