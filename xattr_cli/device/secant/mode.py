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
from .follows import any_tensor, changes, follow, is_followed
from .linear import is_linear, is_product
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
        self._follows = False  # whether any tensor changes without a gradient

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name, given = getattr(func, "__name__", ""), (*args, *kwargs.values())
        if torch.is_grad_enabled() and any_tensor(given, changes):
            found = self._run(func, name, args, kwargs)
            if self._follows:
                self._look_at(name, given, found)
            if isinstance(found, Tensor) and found.requires_grad:
                return found
        else:
            found = _sort(*args, **kwargs) if name == "sort" else func(*args, **kwargs)
            if torch.is_grad_enabled() and not self._follows:
                return found
        # what was written into has changed too
        written = args[:1] if name == "__setitem__" or _plain(name, kwargs)[1] else ()
        self._follows |= follow(name, given, (found, *written))
        return found

    def _run(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """A function of what changes, with the secant that is known of it."""
        plain, writes = _plain(name, kwargs)
        linear = is_linear(plain) and not (is_product(plain) and _changing((*args, *kwargs.values())) > 1)
        if linear and plain not in DIRECT and plain not in COMPOSED:
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
        if not linear:
            self.left[plain] += 1
            self.pairing.bends.hide()
        return func(*args, **kwargs)

    def _look_at(self, name: str, given: tuple[Any, ...], found: Any) -> None:
        """Where masks, positions and the like are at work, functions bend unseen; `where` looks at its own."""
        if name == "where":
            given = tuple(value for value in given if getattr(value, "dtype", None) != torch.bool)
        if any_tensor(given, is_followed) and any_tensor((found, *given[:1]), changes):
            self.pairing.bends.hide()

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


def _changing(values: Iterable[object]) -> int:
    """How many of the arguments change along the path."""
    return sum(
        value.requires_grad if isinstance(value, Tensor) else _changing(value)
        for value in values
        if isinstance(value, Tensor | list | tuple)
    )


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
