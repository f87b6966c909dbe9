"""Max-pooling without kinks: log-sum-exp `ln Σ e^{βz} / β` over each window, as in `surgery_maxima`.

Of a window, log-sum-exp is that over its columns of that over its rows. So pooling goes axis by axis, with k₁ + k₂
numbers in memory for each output where whole windows would take k₁k₂. Padding is −∞ and adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["adaptive_max_pool", "max_pool", "with_indices"]

Size = int | Sequence[int | None]


def max_pool(axes: int) -> Callable[..., Tensor]:
    """Smooth `max_pool1d`, `max_pool2d` or `max_pool3d`: the last `axes` axes are pooled.

    Returns:
        A function of β and the arguments of the original, `return_indices` aside.
    """

    def pool(
        beta: float,
        input: Tensor,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> Tensor:
        kernels = _per_axis(kernel_size, axes)
        strides = _per_axis(stride, axes) if stride else kernels  # an exported program says [] for none
        pads, dilations = _per_axis(padding, axes), _per_axis(dilation, axes)
        result = beta * input
        for axis in range(axes):
            window = (kernels[axis], strides[axis], pads[axis], dilations[axis])
            result = _pooled(result, axis - axes, *window, ceil_mode)
        return result / beta

    return pool


def adaptive_max_pool(axes: int) -> Callable[..., Tensor]:
    """Smooth `adaptive_max_pool1d`, `…2d` or `…3d`: output i of m pools the numbers ⌊in/m⌋ to ⌈(i + 1)n/m⌉ of n.

    Returns:
        A function of β and the arguments of the original, `return_indices` aside.
    """

    def pool(beta: float, input: Tensor, output_size: Size) -> Tensor:
        result = beta * input
        for axis, wanted in enumerate(_per_axis(output_size, axes)):
            if wanted is not None:
                result = _adaptively_pooled(result, axis - axes, wanted)
        return result / beta

    return pool


def with_indices(pool: Callable[..., Tensor], original: Callable[..., Any]) -> Callable[..., Any]:
    """A pooling that also returns the indices of the maxima, as the original finds them."""

    def pool_with_indices(beta: float, input: Tensor, *args: Any, **kwargs: Any) -> Any:
        return pool(beta, input, *args, **kwargs), original(input, *args, **kwargs)[1]

    return pool_with_indices


def _per_axis(size: Size, axes: int) -> list[Any]:
    sizes = list(size) if isinstance(size, Sequence) else [size]
    return sizes * axes if len(sizes) == 1 else sizes


def _pooled(
    values: Tensor, axis: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool
) -> Tensor:
    span = dilation * (kernel - 1) + 1
    outputs = _outputs(values.shape[axis], span, stride, padding, ceil_mode)
    behind = (outputs - 1) * stride + span - values.shape[axis] - padding  # negative: the rest is left out
    padded = functional.pad(values.movedim(axis, -1), (padding, behind), value=-torch.inf)
    # the k-th number of every window; not `unfold`, whose derivative torch.func cannot batch
    last = (outputs - 1) * stride + 1
    numbers = [padded[..., k * dilation : k * dilation + last : stride] for k in range(kernel)]
    return torch.logsumexp(torch.stack(numbers), dim=0).movedim(-1, axis)


def _outputs(size: int, span: int, stride: int, padding: int, ceil_mode: bool) -> int:
    room = size + 2 * padding - span
    if not ceil_mode:
        return room // stride + 1
    outputs = -(-room // stride) + 1
    # no window may begin in the padding behind
    return outputs - 1 if (outputs - 1) * stride >= size + padding else outputs


def _adaptively_pooled(values: Tensor, axis: int, wanted: int) -> Tensor:
    size = values.shape[axis]
    starts = [i * size // wanted for i in range(wanted)]
    stops = [-(-(i + 1) * size // wanted) for i in range(wanted)]
    windows = [values.narrow(axis, start, stop - start) for start, stop in zip(starts, stops, strict=True)]
    return torch.stack([torch.logsumexp(window, dim=axis) for window in windows], dim=axis)
