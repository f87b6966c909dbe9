"""The network as it is, run so that its backward pass takes secants: torch's functions replaced while it runs."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from .composed import COMPOSED
from .linear import is_linear
from .pairs import Pairing
from .rules import DIRECT

__all__ = ["SecantMode"]


class SecantMode(TorchFunctionMode):
    """While open, a forward pass records secants in place of derivatives.

    The gradient that a backward pass gives a row of the call is then that of the cell between the row and the
    next one; that of the last row of a path means nothing. A function that is not known keeps its derivative
    at the left end: then the gradients of the cells do not sum to the difference of the scores.

    Arguments:
        rows: of the call, nodes of a path side by side.

    Attributes:
        left: names of the functions that kept their derivatives, and how often.
        replaced: names of the functions that got secants, and how often.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.pairing = Pairing(rows)
        self.left: Counter[str] = Counter()
        self.replaced: Counter[str] = Counter()

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if not torch.is_grad_enabled() or not _depends((*args, *kwargs.values())):
            return _sort(*args, **kwargs) if name == "sort" else func(*args, **kwargs)
        plain, writes = _plain(name, kwargs)
        if is_linear(plain) and plain not in DIRECT and plain not in COMPOSED:
            return func(*args, **kwargs)
        for attempt in (self._direct, self._composed):
            found = attempt(plain, writes, args, {key: value for key, value in kwargs.items() if key != "inplace"})
            if found is not NotImplemented:
                self.replaced[plain] += 1
                return found
        body = _body(func)
        if body is not None:
            with self:
                return body(*args, **kwargs)
        if not is_linear(plain):
            self.left[plain] += 1
            self.pairing.bends.hide()
        return func(*args, **kwargs)

    def _direct(self, name: str, writes: bool, args: Any, kwargs: dict[str, Any]) -> Any:
        rule = DIRECT.get(name)
        return NotImplemented if rule is None else rule(self.pairing, writes, *args, **kwargs)

    def _composed(self, name: str, writes: bool, args: Any, kwargs: dict[str, Any]) -> Any:
        composed = COMPOSED.get(name)
        if composed is None:
            return NotImplemented
        given = (args[0].clone(), *args[1:]) if writes else args
        with self:
            found = composed(*given, **kwargs)
        return args[0].copy_(found) if writes and found is not NotImplemented else found


def _sort(
    values: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = True, **kwargs: Any
) -> Any:
    """Sort with equal values in their order: of lengths, before packing, it keeps neighbours together."""
    return torch.sort(values, dim=dim, descending=descending, stable=True, **kwargs)


def _depends(values: Iterable[object]) -> bool:
    """Whether any of the arguments changes along the path."""
    for value in values:
        if isinstance(value, Tensor):
            if value.requires_grad:
                return True
        elif isinstance(value, list | tuple) and _depends(value):
            return True
    return False


def _plain(name: str, kwargs: Mapping[str, Any]) -> tuple[str, bool]:
    """The name of a function without the mark of one that writes into its argument, and whether it does."""
    if name.startswith("__i"):
        return name, True
    if name.endswith("_") and not name.endswith("__"):
        return name.removesuffix("_"), True
    return name, bool(kwargs.get("inplace"))


def _never(*_: object) -> bool:
    return False


@lru_cache(maxsize=512)
def _body(func: Any) -> Callable[..., Any] | None:
    """A function of torch that is written in Python, without the question whether somebody replaces it.

    Called as it is, it would ask, and get no further than to who asks it here.
    """
    wrapped = getattr(func, "__wrapped__", None)
    if wrapped is not None:
        return wrapped if _body(wrapped) is None else _body(wrapped)
    asks = [name for name in getattr(func, "__code__", _NO_CODE).co_names if name.startswith("has_torch_function")]
    if not isinstance(func, types.FunctionType) or not asks:
        return None
    scope = {**func.__globals__, **dict.fromkeys(asks, _never)}
    made = types.FunctionType(func.__code__, scope, func.__name__, func.__defaults__, func.__closure__)
    return partial(made, **func.__kwdefaults__) if func.__kwdefaults__ else made


_NO_CODE = _never.__code__
