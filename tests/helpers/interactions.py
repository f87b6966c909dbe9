"""Networks whose interactions are known, and interactions computed in other ways."""

from __future__ import annotations

from collections.abc import Callable

import torch
from numpy.polynomial import legendre
from torch import Tensor, nn


class Formula(nn.Module):
    """A network that is a formula of flat rows (n, D), with one output."""

    def __init__(self, formula: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.formula = formula

    def forward(self, x: Tensor) -> Tensor:
        return self.formula(x.flatten(1))[:, None]


class Quadratic(nn.Module):
    """b·x + xᵀ A x / 2 of any input shape."""

    def __init__(self, matrix: Tensor, slope: Tensor) -> None:
        super().__init__()
        self.matrix, self.slope = nn.Parameter(matrix), nn.Parameter(slope)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return (flat @ self.slope + ((flat @ self.matrix) * flat).sum(1) / 2)[:, None]

    def interactions(self, x: Tensor, baseline: Tensor) -> Tensor:
        """Γ in closed form: the Hessian is constant, the gradient linear along the path."""
        delta = (x - baseline).flatten(1)
        start = baseline.flatten(1) @ self.matrix + self.slope
        end = delta @ self.matrix
        pairs = delta[:, :, None] * delta[:, None, :] * self.matrix / 4
        return pairs + torch.diag_embed(delta * (start + end / 4))


def random_quadratic(size: int, seed: int = 0) -> Quadratic:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(size, size, generator=generator, dtype=torch.float64)
    slope = torch.randn(size, generator=generator, dtype=torch.float64)
    return Quadratic((matrix + matrix.T) / 2, slope)


def brute_force(score: Callable[[Tensor], Tensor], x: Tensor, baseline: Tensor, nodes: int = 40) -> Tensor:
    """Γ of one sample (D,) by the paper's double integral over α and β of autograd's Hessian."""
    positions, weights = (torch.from_numpy(values) for values in legendre.leggauss(nodes))
    positions, weights = (positions + 1) / 2, weights / 2
    delta, total = x - baseline, torch.zeros(len(x), len(x), dtype=x.dtype)
    for alpha, first in zip(positions, weights, strict=True):
        points = baseline + (alpha * positions)[:, None] * delta
        hessians = torch.func.vmap(torch.func.hessian(score))(points)
        slopes = torch.func.vmap(torch.func.grad(score))(points)
        scaled = (first * weights * alpha * positions)[:, None, None] * hessians
        total += delta[:, None] * delta * scaled.sum(0)
        total += torch.diag(delta * ((first * weights)[:, None] * slopes).sum(0))
    return total


def relative_distance(found: Tensor, truth: Tensor) -> Tensor:
    """(rows,) ‖found − truth‖ / ‖truth‖ in Frobenius norms."""
    return (found - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)
