"""Which function of torch is replaced by what while a network runs for its secants."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from .choices import Choice, Envelope, Largest
from .elementwise import RULES, Elementwise
from .follows import is_followed
from .normalising import LogSumExp, Softmax
from .pairs import Pairing
from .products import Bilinear, Product
from .recurrent import RECURRENT

__all__ = ["DIRECT", "Rule"]

Rule = Callable[..., Any]
"""(pairing, writes, *args, **kwargs) to the result, or NotImplemented where it does not serve."""


def _changes(value: object) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _scalar(name: str, pairing: Pairing, writes: bool, *args: Any, **kwargs: Any) -> Any:
    z = args[0] if args else kwargs.pop("input")
    pairs = pairing.of(z) if _changes(z) else None
    rule = None if pairs is None else RULES[name](*args[1:], **kwargs)
    return NotImplemented if rule is None else Elementwise.apply(z, rule, pairs, writes)


def _product(pairing: Pairing, writes: bool, a: Any, b: Any) -> Any:
    if not (_changes(a) and _changes(b)):
        return NotImplemented
    pairs = pairing.of(a), pairing.of(b)
    found = NotImplemented if None in pairs else Product.apply(a.clone() if writes else a, b, *pairs)
    return a.copy_(found) if writes and found is not NotImplemented else found


def _bilinear(function: Callable[[Tensor, Tensor], Tensor], pairing: Pairing, writes: bool, a: Any, b: Any) -> Any:
    if not (_changes(a) and _changes(b)):
        return NotImplemented
    pairs = pairing.of(a), pairing.of(b)
    return NotImplemented if None in pairs else Bilinear.apply(a, b, function, *pairs)


def _einsum(pairing: Pairing, writes: bool, equation: Any, *operands: Any) -> Any:
    factors = operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    if not isinstance(equation, str) or sum(map(_changes, factors)) > 2:
        return NotImplemented
    changing = [number for number, factor in enumerate(factors) if _changes(factor)]
    if len(changing) < 2:
        return NotImplemented

    def contract(a: Tensor, b: Tensor) -> Tensor:
        given = [*factors]
        given[changing[0]], given[changing[1]] = a, b
        return torch.einsum(equation, *given)

    return _bilinear(contract, pairing, writes, *(factors[number] for number in changing))


def _softmax(
    pairing: Pairing, writes: bool, z: Any, dim: Any = None, *_: Any, dtype: Any = None, **__: Any
) -> Any:
    pairs = pairing.of(z)
    if not isinstance(dim, int) or pairs is None or dim % z.ndim == pairs.axis:
        return NotImplemented
    return Softmax.apply(z if dtype is None else z.to(dtype), dim % z.ndim, pairs)


def _softmin(pairing: Pairing, writes: bool, z: Any, *args: Any, **kwargs: Any) -> Any:
    return _softmax(pairing, writes, -z, *args, **kwargs)


def _log_softmax(
    pairing: Pairing, writes: bool, z: Any, dim: Any = None, *_: Any, dtype: Any = None, **__: Any
) -> Any:
    pairs = pairing.of(z)
    if not isinstance(dim, int) or pairs is None or dim % z.ndim == pairs.axis:
        return NotImplemented
    z = z if dtype is None else z.to(dtype)
    return z - LogSumExp.apply(z, dim % z.ndim, pairs)


def _pool(axes: int, name: str, pairing: Pairing, writes: bool, x: Any, *args: Any, **kwargs: Any) -> Any:
    pairs = pairing.of(x)
    if pairs is None or pairs.axis >= x.ndim - axes:
        return NotImplemented
    kernel = _kernel_of_windows(axes, *args, **kwargs) if name.startswith("max") else None
    if kernel is not None and not _bends_alone(x):
        return Envelope.apply(_windows(x, kernel), 1, pairs).squeeze(-1)
    pool = getattr(functional, name.removesuffix("_with_indices"))
    value, index = _winners(x.detach(), partial(pool, **{**kwargs, "return_indices": True}), args)
    found = Largest.apply(x, value, index, axes, pairs)
    return (found, index) if name.endswith("_with_indices") else found


def _bends_alone(x: Tensor) -> bool:
    """Whether each number of a tensor bends for itself, as behind a ReLU: then no third winner is looked for.

    Its way is no line, so the envelope of lines says little: on a ReLU CNN it saved no cell and took half as long
    again. Where pools follow a convolution, it saves a tenth to nine tenths of them.
    """
    return type(x.grad_fn).__name__ == f"{Elementwise.__name__}Backward"


def _kernel_of_windows(
    axes: int, kernel: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, *further: Any, **named: Any
) -> tuple[int, ...] | None:
    """Sizes of windows that lie side by side; None of others, or if anybody asks for their indices."""
    if any(further) or any(named.values()):
        return None
    sizes = [(each,) * axes if isinstance(each, int) else tuple(each) for each in (kernel, padding, dilation)]
    steps = sizes[0] if stride in (None, []) else (stride,) * axes if isinstance(stride, int) else tuple(stride)
    side_by_side = steps == sizes[0] and not any(sizes[1]) and set(sizes[2]) == {1}
    return sizes[0] if side_by_side else None


def _windows(x: Tensor, kernel: Sequence[int]) -> Tensor:
    """(…, *windows, k) of (…, *plane), what does not fill a window left out.

    Example:
        >>> _windows(torch.arange(10.0).view(1, 2, 5), (1, 2)).tolist()
        [[[[0.0, 1.0], [2.0, 3.0]], [[5.0, 6.0], [7.0, 8.0]]]]
    """
    lead, axes = x.ndim - len(kernel), range(len(kernel))
    counts = [x.shape[lead + axis] // kernel[axis] for axis in axes]
    for axis in axes:
        x = x.narrow(lead + axis, 0, counts[axis] * kernel[axis])
    pairs = [size for both in zip(counts, kernel, strict=True) for size in both]
    x = x.reshape(*x.shape[:lead], *pairs)
    order = [*range(lead), *(lead + 2 * axis for axis in axes), *(lead + 2 * axis + 1 for axis in axes)]
    return x.permute(order).flatten(-len(kernel))


def _winners(x: Tensor, pool: Callable[..., tuple[Tensor, Tensor]], args: Sequence[Any]) -> tuple[Tensor, Tensor]:
    """Maxima of windows, and where they are.

    On a CPU, torch reads channels that lie last in a third to a half of the time, copies included.
    """
    turned = x.device.type == "cpu" and x.ndim == 4 and x.shape[1] >= FEWEST_TURNED and x.is_contiguous()
    if not turned or x.numel() > MOST_TURNED:
        return pool(x, *args)
    value, index = pool(x.contiguous(memory_format=torch.channels_last), *args)
    return value.contiguous(), index.contiguous()


FEWEST_TURNED, MOST_TURNED = 8, 2**22
"""Channels, and numbers of a tensor: fewer channels are no faster, and more numbers leave the cache."""


def _extreme(sign: int, pairing: Pairing, writes: bool, x: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """Values of `amax` and `amin`."""
    pairs = pairing.of(x)
    dims = [dim % x.ndim] if isinstance(dim, int) else [number % x.ndim for number in dim or ()]
    if pairs is None or not dims or pairs.axis in dims:
        return NotImplemented
    # the axes in question go last; the rows may have moved forward by those that went
    moved = x.movedim(dims, [*range(-len(dims), 0)]).flatten(-len(dims))
    pairs = replace(pairs, axis=pairs.axis - sum(axis < pairs.axis for axis in dims))
    found = Envelope.apply(moved, sign, pairs)
    found = found.view(*found.shape, *[1] * (len(dims) - 1)).movedim([*range(-len(dims), 0)], dims)
    return found if keepdim else found.squeeze(dims)


def _either(a_wins: Callable[[Tensor, Tensor], Tensor], pairing: Pairing, writes: bool, a: Any, b: Any) -> Any:
    return _choice(pairing, a_wins(a.detach(), b.detach()), a, b, followed=False)


def _where(pairing: Pairing, writes: bool, *given: Any, **kwargs: Any) -> Any:
    if kwargs or len(given) != 3:
        return NotImplemented
    # as a method, `a.where(chosen, b)`, the condition comes second
    chosen, a, b = given if given[0].dtype == torch.bool else (given[1], given[0], given[2])
    like = a if isinstance(a, Tensor) else b
    a, b = (torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in (a, b))
    return _choice(pairing, chosen, a, b, followed=is_followed(chosen))


def _choice(pairing: Pairing, chosen: Tensor, a: Tensor, b: Tensor, *, followed: bool) -> Any:
    shape = torch.broadcast_shapes(chosen.shape, a.shape, b.shape)  # type: ignore[no-untyped-call]
    chosen, a, b = (tensor.expand(shape) for tensor in (chosen, a, b))
    pairs = pairing.of(a)
    return NotImplemented if pairs is None else Choice.apply(chosen, a, b, pairs, followed)


def _max_or_min(sign: int, pairing: Pairing, writes: bool, x: Any, *args: Any, **kwargs: Any) -> Any:
    other = args[0] if args else kwargs.get("other")
    if isinstance(other, Tensor):
        return _either(torch.ge if sign > 0 else torch.le, pairing, writes, x, other)
    dim = args[0] if args else kwargs.get("dim")
    if not isinstance(dim, int):
        return NotImplemented
    keepdim = bool(args[1]) if len(args) > 1 else bool(kwargs.get("keepdim", False))
    values = _extreme(sign, pairing, writes, x, dim, keepdim)
    if values is NotImplemented:
        return values
    kind = torch.return_types.max if sign > 0 else torch.return_types.min
    return kind((values, (sign * x.detach()).argmax(dim, keepdim=keepdim)))


_POOLS = {
    f"{kind}max_pool{axes}d{ending}": axes
    for kind in ("", "adaptive_")
    for axes in (1, 2, 3)
    for ending in ("", "_with_indices")
}

DIRECT: Mapping[str, Rule] = {
    **{name: partial(_scalar, name) for name in RULES},
    "_threshold": partial(_scalar, "threshold"),
    "__pow__": partial(_scalar, "pow"),
    "__abs__": partial(_scalar, "abs"),
    **dict.fromkeys("mul multiply __mul__ __rmul__ __imul__".split(), _product),
    **{name: partial(_bilinear, torch.matmul) for name in "matmul __matmul__ bmm mm mv dot".split()},
    "__rmatmul__": partial(_bilinear, lambda a, b: torch.matmul(b, a)),
    "outer": partial(_bilinear, torch.outer),
    "einsum": _einsum,
    "softmax": _softmax,
    "softmin": _softmin,
    "log_softmax": _log_softmax,
    **{name: partial(_pool, axes, name) for name, axes in _POOLS.items()},
    "amax": partial(_extreme, 1),
    "amin": partial(_extreme, -1),
    "max": partial(_max_or_min, 1),
    "min": partial(_max_or_min, -1),
    **{name: partial(_either, torch.ge) for name in ("maximum", "fmax")},
    **{name: partial(_either, torch.le) for name in ("minimum", "fmin")},
    "where": _where,
    **RECURRENT,
}
"""Functions by their name in torch."""
