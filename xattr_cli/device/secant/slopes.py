"""Secants of scalar functions: (σ(b) − σ(a)) / (b − a), accurate however near both are, and σ′ where they meet."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = [
    "absolute_slope",
    "clamp_slope",
    "elu_slope",
    "exp_slope",
    "hardswish_slope",
    "log_slope",
    "measured_slope",
    "power_slope",
    "relu_slope",
    "rsqrt_slope",
    "sigmoid_slope",
    "silu_slope",
    "sqrt_slope",
    "tanh_slope",
    "zero_from_top",
]


def relu_slope(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) secants of max(z, 0), exactly 0 or 1 where both ends lie on one side; 0 where both are 0.

    Example:
        >>> relu_slope(torch.tensor([-1.0, 1.0, -1.0, 2.0]), torch.tensor([-2.0, 2.0, 3.0, 2.0]))
        tensor([0.0000, 1.0000, 0.7500, 1.0000])
    """
    return zero_from_top(a, b).clamp_(0, 1)


def zero_from_top(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) how far 0 lies below the larger end, over the distance of both: between 0 and 1 if it lies between
    them, ±∞ where both ends are one, and −∞ where both are 0.

    Example:
        >>> zero_from_top(torch.tensor([-1.0, 1.0, -1.0, 2.0]), torch.tensor([-2.0, 2.0, 3.0, 2.0]))
        tensor([-1.0000,  2.0000,  0.7500,      inf])
    """
    return torch.maximum(a, b).sub_(torch.finfo(a.dtype).tiny).div_(torch.sub(b, a).abs_())


def absolute_slope(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) secants of |z|; 0 where both ends are 0."""
    distance = torch.sub(b, a).abs_().add_(torch.finfo(a.dtype).tiny)
    return torch.add(a, b).div_(distance).clamp_(-1, 1)


def clamp_slope(a: Tensor, b: Tensor, low: float | None, high: float | None) -> Tensor:
    """(*shape) secants of min(max(z, low), high), either of which may be missing; 0 where both ends are one."""
    largest, smallest = torch.maximum(a, b), torch.minimum(a, b)
    distance = torch.sub(largest, smallest).add_(torch.finfo(a.dtype).tiny)
    # what rises above the lower bound, less what stays above the upper one
    risen = (
        torch.ones_like(a) if low is None else (largest.sub_(low) if low else largest).div_(distance).clamp_(0, 1)
    )
    if high is None:
        return risen
    return risen.add_(smallest.neg_().add_(high).div_(distance).clamp_(0, 1)).sub_(1)


def exp_slope(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) secants of exp(z); 0 where both ends are −∞."""
    distance = torch.sub(b, a).abs_().nan_to_num_(nan=0.0, posinf=torch.inf)
    decay = torch.where(distance == 0, 1.0, torch.expm1(-distance).neg_() / distance)
    return torch.maximum(a, b).exp_().mul_(decay)


def log_slope(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) secants of log(z)."""
    distance = b - a
    return torch.where(distance == 0, 1 / a, torch.log1p(distance / a) / distance)


def sqrt_slope(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) secants of √z."""
    return 1 / (a.sqrt() + b.sqrt())


def rsqrt_slope(root_a: Tensor, root_b: Tensor) -> Tensor:
    """(*shape) secants of z ↦ 1 / √z, from its values at both ends."""
    return -(root_a.square() * root_b.square()) / (root_a + root_b)


def tanh_slope(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) secants of tanh(z), by tanh b − tanh a = tanh(b − a) (1 − tanh a · tanh b)."""
    distance = b - a
    share = torch.where(distance == 0, 1.0, distance.tanh() / distance)
    return share * (1 - a.tanh() * b.tanh())


def sigmoid_slope(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) secants of 1 / (1 + exp(−z))."""
    return tanh_slope(a / 2, b / 2) / 4


def silu_slope(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) secants of z / (1 + exp(−z)): a product."""
    return (a.sigmoid() + b.sigmoid()) / 2 + (a + b) / 2 * sigmoid_slope(a, b)


def hardswish_slope(a: Tensor, b: Tensor) -> Tensor:
    """(*shape) secants of z · min(max(z + 3, 0), 6) / 6: a product."""
    gates = (a + 3).clamp(0, 6) + (b + 3).clamp(0, 6)
    return (gates + (a + b) * clamp_slope(a + 3, b + 3, 0.0, 6.0)) / 12


def elu_slope(a: Tensor, b: Tensor, alpha: float, scale: float, input_scale: float) -> Tensor:
    """(*shape) secants of scale · (max(z, 0) + alpha · (exp(input_scale · min(z, 0)) − 1))."""
    above = relu_slope(a, b)
    below = exp_slope(input_scale * a.clamp(max=0), input_scale * b.clamp(max=0))
    # the derivative at 0 is that of the negative side, as torch has it for z ≤ 0
    return scale * (above + (alpha * input_scale) * below * (1 - above))


def power_slope(a: Tensor, b: Tensor, exponent: int) -> Tensor:
    """(*shape) secants of z ** exponent, a positive whole number: Σ a^k b^(exponent − 1 − k)."""
    total = torch.ones_like(a)
    power = total
    for _ in range(exponent - 1):
        power = power * b
        total = total * a + power
    return total


def measured_slope(a: Tensor, b: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """(*shape) secants of any function of one number; σ′ in the middle of ends that nearly meet.

    The ratio loses digits to cancellation as ends draw near, as eps / |b − a|, and the middle is off by
    (b − a)² σ‴ / 24: they meet at about the third root of eps, where either is good to its two thirds.
    """
    distance, middle = b - a, torch.lerp(a, b, 0.5)
    near = distance.abs() <= 2 * torch.finfo(a.dtype).eps ** (1 / 3) * (1 + middle.abs())
    ratio = (function(b) - function(a)) / torch.where(near, 1.0, distance)
    with torch.enable_grad():
        leaf = middle.detach().requires_grad_()
        (tangent,) = torch.autograd.grad(function(leaf).sum(), leaf)
    return torch.where(near, tangent, ratio)
