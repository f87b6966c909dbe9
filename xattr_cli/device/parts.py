"""What a network or one of its layers returns or takes, as a tree of parts whose tensors have dotted names."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

__all__ = ["named_parts", "tensors_of", "with_tensor"]


def named_parts(value: Any) -> dict[str, Any] | None:
    """The parts of a value by name; None if it has none.

    Example:
        >>> named_parts((1, 2))
        {'0': 1, '1': 2}
    """
    if isinstance(value, Mapping):
        return {str(key): part for key, part in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, tuple | list):
        return {str(number): part for number, part in enumerate(value)}
    return vars(value) if hasattr(value, "__dict__") and not isinstance(value, Tensor) else None


def tensors_of(value: Any, name: str = "") -> dict[str, Tensor]:
    """All tensors of a value, by their dotted names; a tensor itself has the empty one.

    Example:
        >>> import torch
        >>> sorted(tensors_of((torch.ones(1), {"h": torch.ones(2), "n": 3})))
        ['0', '1.h']
    """
    if isinstance(value, Tensor):
        return {name: value}
    if not isinstance(value, Mapping | tuple | list) and not is_dataclass(value):
        return {}
    found: dict[str, Tensor] = {}
    for part, inner in (named_parts(value) or {}).items():
        found |= tensors_of(inner, f"{name}.{part}" if name else part)
    return found


def with_tensor(value: Any, name: str, tensor: Tensor) -> Any:
    """The same value with one of its tensors replaced, every container of the same type.

    Arguments:
        value: as `tensors_of` takes it.
        name: one of those that it gives.
        tensor: in its place.

    Example:
        >>> import torch
        >>> with_tensor((1, [torch.zeros(1)]), "1.0", torch.ones(1))
        (1, [tensor([1.])])
    """
    if not name:
        return tensor
    first, _, rest = name.partition(".")
    if isinstance(value, Mapping):
        first = next((key for key in value if str(key) == first), first)
        changed: Any = copy.copy(value)
        changed[first] = with_tensor(value[first], rest, tensor)
        return changed
    parts = named_parts(value) or {}
    parts[first] = with_tensor(parts[first], rest, tensor)
    if is_dataclass(value):
        changed = copy.copy(value)
        object.__setattr__(changed, first, parts[first])
        return changed
    return type(value)(*parts.values()) if hasattr(value, "_fields") else type(value)(parts.values())
