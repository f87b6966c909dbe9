"""Activations without kinks: each is its original, written in ramps `max(z, 0)`, with softplus for the ramp.

The ramp becomes `s(z) = ln(1 + e^{βz}) / β`, which lies above it by `ln 2 / β` at 0 and by less elsewhere, and
whose second derivative `β σ(βz) (1 − σ(βz))` integrates to the jump of the ramp's slope. What is linear in ramps
is replaced term by term, so that a network that is written in another way becomes the same smooth network:

| original | with kinks | smooth |
|---|---|---|
| relu | `max(z, 0)` | `s(z)` |
| leaky_relu, prelu, rrelu (eval) | `az + (1 − a) max(z, 0)` | `az + (1 − a) s(z)` |
| relu6, hardtanh, clamp | `a + max(z − a, 0) − max(z − b, 0)` | `a + s(z − a) − s(z − b)` |
| hardsigmoid | `relu6(z + 3) / 6` | `(s(z + 3) − s(z − 3)) / 6` |
| hardswish | `z · hardsigmoid(z)` | `z (s(z + 3) − s(z − 3)) / 6` |
| softshrink | `max(z − λ, 0) − max(−z − λ, 0)` | `s(z − λ) − s(−z − λ)` |
| threshold, to its own level t | `t + max(z − t, 0)` | `t + s(z − t)` |
| elu, α ≠ 1, and selu | `α · elu₁(z) + (1 − α) max(z, 0)` | `α · elu₁(z) + (1 − α) s(z)` |
| abs | `2 max(z, 0) − z` | `2 s(z) − z` |
| softsign | `z / (1 + abs(z))` | with `abs` as above |

`elu₁` (α = 1) and celu have a continuous slope, and a second derivative that jumps but has no spike: they stay.
Jumps (hardshrink, threshold to another value, sign, round) have no smooth form here.

Source: Janizek, Sturmfels and Lee 2020, arXiv 2002.04138, section 2.3, for the ramp; the others follow from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = [
    "clamp",
    "clamp_max",
    "clamp_min",
    "elu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "is_guard",
    "leaky_relu",
    "magnitude",
    "noisy_rrelu",
    "prelu",
    "ramp",
    "relu6",
    "rrelu",
    "selu",
    "softshrink",
    "softsign",
    "threshold",
]

_LINEAR_FROM = 40.0  # where ln(1 + e^z) is z to the last bit of float64; torch's own 20 leaves a step of 2e-9
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946
_TINY, _HUGE = 1e-3, 1e3


def ramp(beta: float, input: Tensor) -> Tensor:
    """(*shape) softplus `ln(1 + e^{βz}) / β`: exact in float64, and stable under two and more derivatives."""
    return functional.softplus(input, beta, _LINEAR_FROM)


def leaky_relu(beta: float, input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """(*shape) `az + (1 − a) s(z)`."""
    return negative_slope * input + (1 - negative_slope) * ramp(beta, input)


def prelu(beta: float, input: Tensor, weight: Tensor) -> Tensor:
    """(*shape) `az + (1 − a) s(z)` with a slope per channel, which is the second axis."""
    if weight.numel() > 1 and weight.ndim <= 1:  # of aten's inner operation it has all axes already
        weight = weight.reshape(-1, *[1] * (input.ndim - 2))
    return weight * input + (1 - weight) * ramp(beta, input)


def rrelu(
    beta: float, input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False, *_: object
) -> Any:
    """The leaky ramp of mean slope, as in eval mode; in train mode the slope is random and nothing is replaced."""
    return NotImplemented if training else leaky_relu(beta, input, (lower + upper) / 2)


def noisy_rrelu(
    beta: float,
    input: Tensor,
    noise: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    *_: object,
) -> Any:
    """The same, as exported programs call it."""
    return rrelu(beta, input, lower, upper, training)


def relu6(beta: float, input: Tensor) -> Tensor:
    """(*shape) `s(z) − s(z − 6)`."""
    return hardtanh(beta, input, 0.0, 6.0)


def hardtanh(beta: float, input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """(*shape) `a + s(z − a) − s(z − b)`."""
    return min_val + ramp(beta, input - min_val) - ramp(beta, input - max_val)


def hardsigmoid(beta: float, input: Tensor) -> Tensor:
    """(*shape) `(s(z + 3) − s(z − 3)) / 6`."""
    return relu6(beta, input + 3) / 6


def hardswish(beta: float, input: Tensor) -> Tensor:
    """(*shape) `z (s(z + 3) − s(z − 3)) / 6`."""
    return input * hardsigmoid(beta, input)


def softshrink(beta: float, input: Tensor, lambd: float = 0.5) -> Tensor:
    """(*shape) `s(z − λ) − s(−z − λ)`."""
    return ramp(beta, input - lambd) - ramp(beta, -input - lambd)


def threshold(beta: float, input: Tensor, threshold: float, value: float) -> Any:
    """`t + s(z − t)`; nothing is replaced where the value below the threshold is another one: that is a jump."""
    return threshold + ramp(beta, input - threshold) if value == threshold else NotImplemented


def elu(beta: float, input: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Any:
    """Of `z` above 0 and `α (e^{cz} − 1)` below it, times a scale: slopes of 1 and αc; for αc = 1 it stays."""
    slope = alpha * input_scale
    if abs(slope - 1) < 1e-6:
        return NotImplemented
    return scale * (alpha * functional.elu(input_scale * input) + (1 - slope) * ramp(beta, input))


def selu(beta: float, input: Tensor) -> Any:
    """ELU with α = 1.67 and a scale of 1.05."""
    return elu(beta, input, _SELU_ALPHA, _SELU_SCALE)


def magnitude(beta: float, input: Tensor) -> Tensor:
    """(*shape) `2 s(z) − z` for |z|."""
    return 2 * ramp(beta, input) - input


def softsign(beta: float, input: Tensor) -> Tensor:
    """(*shape) `z / (1 + |z|)` with the smooth magnitude."""
    return input / (1 + magnitude(beta, input))


def clamp(beta: float, input: Tensor, min: Any = None, max: Any = None) -> Any:
    """`a + s(z − a) − s(z − b)` as far as the bounds are given; nothing is replaced where they are a guard.

    A bound of 1000 or more beside one that shapes the function stays hard.
    """
    if isinstance(min, Tensor) or isinstance(max, Tensor) or is_guard(min, max):
        return NotImplemented
    smooth = input
    if min is not None and abs(min) < _HUGE:
        smooth = min + ramp(beta, smooth - min)
    if max is not None and abs(max) < _HUGE:
        # of both, the sum is that of hardtanh; for one alone it is max − s(max − z)
        smooth = smooth - ramp(beta, input - max)
    if _is_huge(min) or _is_huge(max):
        return torch.clamp(smooth, min if _is_huge(min) else None, max if _is_huge(max) else None)
    return smooth


def clamp_min(beta: float, input: Tensor, min: Any) -> Any:
    """`a + s(z − a)`."""
    return clamp(beta, input, min, None)


def clamp_max(beta: float, input: Tensor, max: Any) -> Any:
    """`z − s(z − b)`."""
    return clamp(beta, input, None, max)


def is_guard(low: Any, high: Any) -> bool:
    """Whether bounds guard a number against 0 or infinity, rather than shape a function.

    That is taken of bounds that are not 0 and within ±0.001, as in `norm.clamp(min=1e-12)`, and of those
    beyond ±1000. Softplus would change such a number a thousandfold, where the guard does not touch it at all.
    """
    bounds = [bound for bound in (low, high) if isinstance(bound, int | float)]
    if len(bounds) < (low is not None) + (high is not None):
        return False
    return any(0 < abs(bound) <= _TINY for bound in bounds) or all(map(_is_huge, bounds))


def _is_huge(bound: float | None) -> bool:
    return bound is not None and abs(bound) >= _HUGE
