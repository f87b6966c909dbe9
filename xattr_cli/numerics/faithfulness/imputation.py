"""Pixels that are missing, imputed by their neighbours: so that a mask leaves no edges behind."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["imputed"]

_KERNEL = ((1 / 12, 1 / 6, 1 / 12), (1 / 6, 0.0, 1 / 6), (1 / 12, 1 / 6, 1 / 12))
RTOL = 1e-8
"""Relative residual at which the solution counts as one: far below the noise that is added to it."""


def imputed(images: Tensor, missing: Tensor) -> Tensor:
    """(n, channels, height, width) float64 images, every missing pixel the weighted mean of its neighbours.

    Neighbours weigh 1/6 beside and 1/12 across, those outside the image nothing; the missing ones are solved for
    together, all images at once, by conjugate gradients: the equations are those of a graph Laplacian, symmetric
    and positive definite as long as each image has a pixel left.

    Reference: Rong et al. 2022, arXiv 2202.00449, section 5.

    Arguments:
        images: (n, channels, height, width).
        missing: (n, height, width) bool.

    Example:
        >>> line = torch.tensor([[[[0.0, 9.0, 4.0]]]])
        >>> imputed(line, torch.tensor([[[False, True, False]]])).flatten().tolist()
        [0.0, 2.0, 4.0]
    """
    known, lacks = images.double(), missing[:, None]
    weights = known.new_tensor(_KERNEL)[None, None]

    def neighbours(values: Tensor) -> Tensor:
        flat = values.reshape(-1, 1, *values.shape[2:])
        return torch.nn.functional.conv2d(flat, weights, padding=1).view_as(values)

    total = neighbours(torch.ones_like(known))

    def product(values: Tensor) -> Tensor:
        return torch.where(lacks, total * values - neighbours(values), 0.0)

    known = torch.where(lacks, 0.0, known)
    seen = (~lacks).sum(dim=(2, 3), keepdim=True).clamp(min=1)
    start = torch.where(lacks, known.sum(dim=(2, 3), keepdim=True) / seen, 0.0)
    wanted = torch.where(lacks, neighbours(known), 0.0)
    return known + _solved(product, wanted, start)


def _solved(product: Callable[[Tensor], Tensor], target: Tensor, solution: Tensor) -> Tensor:
    """Conjugate gradients for many systems (n, channels) at once, each with its own step lengths."""
    residual = target - product(solution)
    direction, square = residual.clone(), _dot(residual, residual)
    goal = RTOL**2 * _dot(target, target)
    for _ in range(10 * (target.shape[2] + target.shape[3]) + 100):
        going = square > goal
        if not bool(going.any()):
            break
        image = product(direction)
        step = torch.where(going, square / _dot(direction, image).clamp(min=torch.finfo(square.dtype).tiny), 0.0)
        solution = solution + step * direction
        residual = residual - step * image
        before, square = square, _dot(residual, residual)
        direction = residual + square / before.clamp(min=torch.finfo(square.dtype).tiny) * direction
    return solution


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """(n, channels, 1, 1) inner products."""
    return (a * b).sum(dim=(2, 3), keepdim=True)
