"""How a function of torch was called: what it was given first, what else, and whether it writes into it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import FunctionType
from typing import Any

from torch import Tensor

__all__ = ["Call"]

_ALIASES = {"self": "input", "axis": "dim", "keepdims": "keepdim"}


@dataclass(frozen=True)
class Call:
    """A call of a function of torch, whatever way its arguments were handed over.

    Attributes:
        input: the first argument.
        args, kwargs: the others, but for `inplace` and `return_indices`.
        in_place: `inplace=True` was given.
    """

    input: Tensor
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    in_place: bool

    @classmethod
    def of(cls, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call | None:
        """None if the call has no such form: results go to `out=`, or the first argument is no tensor."""
        named = {_ALIASES.get(name, name): value for name, value in kwargs.items()}
        if "inplace" in _parameters(function):
            named = dict(zip(_parameters(function), args, strict=False)) | named
            args = ()
        named.pop("return_indices", None)
        in_place = bool(named.pop("inplace", False))
        if args:
            input, *others = args
        else:
            input, others = named.pop("input", None), []
        if not isinstance(input, Tensor) or "out" in named:
            return None
        return cls(input, tuple(others), named, in_place)

    def __str__(self) -> str:
        """The numbers among the other arguments, such as "(min=1e-12)"."""
        numbers = [f"{value:.8g}" for value in self.args if _is_number(value)]
        numbers += [f"{name}={value:.8g}" for name, value in self.kwargs.items() if _is_number(value)]
        return f"({', '.join(numbers)})"


@cache
def _parameters(function: Any) -> tuple[str, ...]:
    """Names of the parameters of a function written in Python."""
    return tuple(inspect.signature(function).parameters) if isinstance(function, FunctionType) else ()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
