"""What a forward pass does, seen while it runs: every operation of ATen, and the autograd Functions of Python."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .surgery.constants import tensors_in

__all__ = ["OperationWatch", "python_functions"]


class OperationWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operation of ATen that runs while it is open; what is noted of it is a subclass's."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # nothing is compiled here, and the guard against it would import the compiler: 2 s at every start
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.see(func, args, kwargs or {})

    @abstractmethod
    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Note the operation, call it, and return what it returns."""


def python_functions(output: object, known: set[object]) -> Iterator[str]:
    """Names of the autograd Functions written in Python of which the tensors of `output` were made.

    Arguments:
        output: a tensor, or any structure of them.
        known: nodes of the graph of derivatives that were met before; those that are met now are added.
    """
    waiting = [tensor.grad_fn for tensor in tensors_in((output,))]
    while waiting:
        node = waiting.pop()
        if node is None or node in known:
            continue
        known.add(node)
        if issubclass(type(node), torch.autograd.function.BackwardCFunction):
            yield type(node).__name__
        waiting += [following for following, _ in node.next_functions]
