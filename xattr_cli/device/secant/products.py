"""Products of two tensors that both change along the path: each factor with the mean of the other at both ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .pairs import Pairs

__all__ = ["Bilinear", "Product"]


def _bend(pairs: Pairs, factor: Tensor) -> None:
    """The slope in one factor is the other one, which changes all over the cell."""
    if pairs.watched:
        left, _ = pairs.ends(factor)
        pairs.bend(torch.ones_like(left, dtype=torch.bool))


class Product(torch.autograd.Function):
    """y = a · b, element by element, with broadcasting."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, pairs_a: Pairs, pairs_b: Pairs) -> Tensor:
        """(*shape) the product."""
        ctx.pairs = pairs_a, pairs_b
        ctx.save_for_backward(a, b)
        return a * b

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The gradients of every cell, at its left end."""
        a, b = ctx.saved_tensors
        pairs_a, pairs_b = ctx.pairs
        _bend(pairs_a, a)
        to_a = (gradient * pairs_b.middle(b)).sum_to_size(a.shape)
        to_b = (gradient * pairs_a.middle(a)).sum_to_size(b.shape)
        return to_a, to_b, None, None


class Bilinear(torch.autograd.Function):
    """y = B(a, b) for any bilinear B: its own gradient, taken where both factors are in the middle."""

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        b: Tensor,
        function: Callable[[Tensor, Tensor], Tensor],
        pairs_a: Pairs,
        pairs_b: Pairs,
    ) -> Tensor:
        """(*shape) the values."""
        ctx.function, ctx.pairs = function, (pairs_a, pairs_b)
        ctx.save_for_backward(a, b)
        return function(a, b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        """The gradients of every cell, at its left end."""
        _bend(ctx.pairs[0], ctx.saved_tensors[0])
        middles = [
            pairs.middle(factor).requires_grad_()
            for pairs, factor in zip(ctx.pairs, ctx.saved_tensors, strict=True)
        ]
        with torch.enable_grad():
            to_a, to_b = torch.autograd.grad(ctx.function(*middles), middles, gradient)
        return to_a, to_b, None, None, None
