"""Tensors that change along the path and carry no gradient: masks, positions, whatever was detached."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor

__all__ = ["any_tensor", "changes", "follow", "follows", "is_followed"]

_MARK = "_follows_the_path"
_FILLED = frozenset(
    "zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros new_ones new_empty "
    "new_full new_tensor".split()
)
"""Functions that take no more than the shape of a tensor."""


def changes(tensor: Tensor) -> bool:
    """Whether a tensor depends on the point of the path by its gradient."""
    return tensor.requires_grad


def is_followed(tensor: Tensor) -> bool:
    """Whether a tensor was made of what changes, and carries no gradient."""
    return hasattr(tensor, _MARK)


def any_tensor(values: Iterable[object], what: Callable[[Tensor], bool]) -> bool:
    """Whether it is so of any tensor among the arguments of a function, or its results."""
    for value in values:
        if isinstance(value, Tensor):
            if what(value):
                return True
        elif isinstance(value, list | tuple) and any_tensor(value, what):
            return True
    return False


def follows(tensor: Tensor) -> bool:
    """Whether a tensor may be another one at the next point of the path."""
    return tensor.requires_grad or is_followed(tensor)


def follow(name: str, given: Iterable[object], found: Iterable[object]) -> bool:
    """Mark what a function has made of something that changes, if it carries no gradient; whether it has.

    Example:
        >>> import torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> mask = x > 0
        >>> follow("gt", (x, 0), [mask]), is_followed(mask), is_followed(torch.ones(2))
        (True, True, False)
    """
    if name in _FILLED or not any_tensor(given, follows):
        return False
    marked = False
    for value in found:
        if isinstance(value, list | tuple):
            marked |= follow(name, given, value)
        elif isinstance(value, Tensor) and not value.requires_grad:
            setattr(value, _MARK, True)
            marked = True
    return marked
