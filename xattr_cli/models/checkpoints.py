"""Checkpointed parts of a network called plainly, without computing them again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.utils.checkpoint as torch_checkpoint

__all__ = ["plain_checkpoints"]

_MADE_OF = (
    "CheckpointFunction",
    "_checkpoint_without_reentrant_generator_impl",
    "_checkpoint_without_reentrant_generator",
)


@contextmanager
def plain_checkpoints(count: Callable[[], None] = lambda: None) -> Iterator[None]:
    """While open, `torch.utils.checkpoint.checkpoint(function, *args)` is `function(*args)`.

    The reentrant kind works with `.backward()` alone, not with `torch.autograd.grad`; the other one works with
    that, but not with `torch.func`. Both run the function again in the backward pass, when modes that were active
    in the forward pass are not. A network calls `checkpoint` by whatever name it has imported it; so what that
    function is made of is replaced.

    Arguments:
        count: called for every checkpointed call, unless this is opened inside another.
    """
    content = vars(torch_checkpoint)
    before = {name: content[name] for name in _MADE_OF if name in content}
    plain = next((part for part in before.values() if isinstance(part, _Plain)), None) or _Plain(count)
    content.update(dict.fromkeys(before, plain))
    try:
        yield
    finally:
        content.update(before)


class _Plain:
    """What stands in for the autograd Function of one kind of checkpoint, and for the generator of the other."""

    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count

    def apply(self, function: Callable[..., Any], _preserve: bool, *args: Any) -> Any:
        self._count()
        return function(*args)

    def __call__(self, *_args: Any, **_kwargs: Any) -> Iterator[None]:
        self._count()
        yield
