"""Functions of torch written in terms of others that have a secant."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["COMPOSED"]


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    if dropout_p:
        return NotImplemented
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(groups, -3), value.repeat_interleave(groups, -3)
    root = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = torch.matmul(query * root, key.transpose(-2, -1))
    if is_causal:
        attn_mask = scores.new_ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is None:
        return torch.matmul(scores.softmax(-1), value)
    if attn_mask.dtype != torch.bool:
        return torch.matmul((scores + attn_mask).softmax(-1), value)
    weights = scores.masked_fill(~attn_mask, -torch.inf).softmax(-1)
    # whoever may look at nothing gets nothing
    return torch.matmul(weights.masked_fill(~attn_mask.any(-1, keepdim=True), 0.0), value)


def _prelu(x: Tensor, weight: Tensor) -> Tensor:
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)] if weight.numel() > 1 else [1]
    return x.relu() - weight.view(shape) * (-x).relu()


def _clamped(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    for bound, cut in ((min, torch.maximum), (max, torch.minimum)):
        x = x if bound is None else cut(x, torch.as_tensor(bound, dtype=x.dtype, device=x.device))
    return x


def _quotient(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is not None or not (isinstance(b, Tensor) and b.requires_grad):
        return NotImplemented
    return torch.reciprocal(b) * a


def _power_of_number(base: Any, exponent: Any) -> Any:
    if isinstance(base, Tensor) or base <= 0:
        return NotImplemented
    return torch.exp(exponent * math.log(base))


def _glu(x: Tensor, dim: int = -1) -> Tensor:
    a, b = x.chunk(2, dim)
    return a * b.sigmoid()


def _rms_norm(x: Tensor, normalized_shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Tensor:
    dims = tuple(range(-len(normalized_shape), 0))
    smallest = torch.finfo(x.dtype).eps if eps is None else eps
    found = x * torch.rsqrt(x.square().mean(dims, keepdim=True) + smallest)
    return found if weight is None else found * weight


def _layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    found = _standardised(x, tuple(range(x.ndim - len(normalized_shape), x.ndim)), eps)
    found = found if weight is None else found * weight
    return found if bias is None else found + bias


def _group_norm(
    x: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Tensor:
    found = _standardised(x.reshape(len(x), num_groups, -1), (2,), eps).view(x.shape)
    return _per_channel(found, weight, bias)


def _instance_norm(
    x: Tensor,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *_: Any,
) -> Any:
    if not use_input_stats:
        return NotImplemented
    return _per_channel(_standardised(x, tuple(range(2, x.ndim)), eps), weight, bias)


def _per_channel(x: Tensor, weight: Any, bias: Any) -> Tensor:
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    x = x if weight is None else x * weight.view(shape)
    return x if bias is None else x + bias.view(shape)


def _standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """(x − mean) / √(variance + eps) along some axes."""
    centred = x - x.mean(dims, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + eps)


def _variance(
    x: Tensor, dim: Any = None, unbiased: bool = True, keepdim: bool = False, *, correction: Any = None
) -> Any:
    if dim is None or isinstance(dim, bool):
        return NotImplemented
    centred = x - x.mean(dim, keepdim=True)
    number = x.numel() // max(1, x.mean(dim).numel())
    return centred.square().sum(dim, keepdim=keepdim) / (
        number - (int(unbiased) if correction is None else correction)
    )


def _deviation(*args: Any, **kwargs: Any) -> Any:
    found = _variance(*args, **kwargs)
    return found if found is NotImplemented else found.sqrt()


def _length(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    if dim is None or dtype is not None:
        return NotImplemented
    if ord == 2:
        return x.square().sum(dim, keepdim=keepdim).sqrt()
    if ord == 1:
        return x.abs().sum(dim, keepdim=keepdim)
    return x.abs().amax(dim, keepdim=keepdim) if ord == math.inf else NotImplemented


def _cosine(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    lengths = [x.square().sum(dim).sqrt().clamp(min=eps) for x in (x1, x2)]
    return (x1 * x2).sum(dim) / (lengths[0] * lengths[1])


def _addcmul(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return x + value * (tensor1 * tensor2)


def _addcdiv(x: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    return x + value * (tensor1 / tensor2)


def _add_product(x: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return x * beta + alpha * torch.matmul(a, b)


def _lerp(start: Tensor, end: Tensor, weight: Any) -> Any:
    return start + weight * (end - start)


def _logsumexp(x: Tensor, dim: Any, keepdim: bool = False) -> Any:
    if not isinstance(dim, int):
        return NotImplemented
    found = x - x.log_softmax(dim)  # the same at every position of the axis
    found = found.narrow(dim, 0, 1)
    return found if keepdim else found.squeeze(dim)


def _lstm_cell(
    x: Tensor, hx: Sequence[Tensor], w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None
) -> Any:
    gates = torch.nn.functional.linear(x, w_ih, b_ih) + torch.nn.functional.linear(hx[0], w_hh, b_hh)
    entering, keeping, candidate, leaving = gates.chunk(4, 1)
    cell = keeping.sigmoid() * hx[1] + entering.sigmoid() * candidate.tanh()
    return leaving.sigmoid() * cell.tanh(), cell


def _gru_cell(x: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
    given = torch.nn.functional.linear(x, w_ih, b_ih).chunk(3, 1)
    kept = torch.nn.functional.linear(hx, w_hh, b_hh).chunk(3, 1)
    reset, update = (given[0] + kept[0]).sigmoid(), (given[1] + kept[1]).sigmoid()
    candidate = (given[2] + reset * kept[2]).tanh()
    return candidate + update * (hx - candidate)


def _rnn_cell(activation: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    def cell(x: Tensor, hx: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Any = None, b_hh: Any = None) -> Tensor:
        given = torch.nn.functional.linear(x, w_ih, b_ih)
        return activation(given + torch.nn.functional.linear(hx, w_hh, b_hh))

    return cell


COMPOSED: dict[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": _attention,
    "prelu": _prelu,
    **dict.fromkeys("clamp clip clamp_min clamp_max".split(), _clamped),
    **dict.fromkeys("div divide true_divide __truediv__ __div__ __itruediv__ __idiv__".split(), _quotient),
    **dict.fromkeys("pow __rpow__".split(), _power_of_number),
    "glu": _glu,
    "rms_norm": _rms_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "var": _variance,
    "std": _deviation,
    **dict.fromkeys("vector_norm linalg_vector_norm".split(), _length),
    "cosine_similarity": _cosine,
    "addcmul": _addcmul,
    "addcdiv": _addcdiv,
    **dict.fromkeys("addmm baddbmm addmv".split(), _add_product),
    "lerp": _lerp,
    "logsumexp": _logsumexp,
    "lstm_cell": _lstm_cell,
    "gru_cell": _gru_cell,
    "rnn_tanh_cell": _rnn_cell(torch.tanh),
    "rnn_relu_cell": _rnn_cell(torch.relu),
}
"""By their name in torch, run with secants in force; they return NotImplemented where they do not serve."""
