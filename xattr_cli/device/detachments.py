"""Where a network leaves autograd: operation and layer, for errors that must say which part to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..models.surgery.constants import READS_NO_VALUES, tensors_in
from ..models.watching import OperationWatch, python_functions
from .curvature.kinks import Kink, LayerTracker

__all__ = ["locate_detachments"]

_NUMBERS = frozenset({"_local_scalar_dense", "is_nonzero"})
_COPIES = READS_NO_VALUES | {"clone", "_to_copy", "alias", "view", "lift_fresh", "copy"}


def locate_detachments(network: nn.Module, forward: Callable[[], object]) -> tuple[Kink, ...]:
    """Where values that depend on the explained inputs go on without a gradient, or with one of Python code.

    Arguments:
        network: the module that `forward` runs.
        forward: runs it with gradients, from inputs that want one.

    Returns:
        Sorted by layer; empty if nothing is seen, as in TorchScript and compiled code.
    """
    layers = LayerTracker(network)
    watch = _Watch(layers)
    with layers.followed(watch.look_for_functions, watch.look_for_functions), watch:
        output = forward()
    watch.look_for_functions(output)
    return tuple(sorted(watch.found))


class _Watch(OperationWatch):  # type: ignore[no-untyped-call]
    """Follows what depends on the inputs."""

    def __init__(self, layers: LayerTracker) -> None:
        super().__init__()
        self.layers = layers
        self.found: set[Kink] = set()
        self._made: dict[int, Tensor] = {}  # kept alive: the identity of a freed tensor is given to another
        self._known: set[object] = set()

    def see(self, func: Any, args: Any, kwargs: Any) -> Any:
        output = func(*args, **kwargs)
        given = [tensor for tensor in tensors_in((args, kwargs)) if tensor.is_floating_point()]
        if any(tensor.requires_grad or id(tensor) in self._made for tensor in given):
            self._judge(func.overloadpacket.__name__, given)
            self._made.update((id(tensor), tensor) for tensor in tensors_in((output,)))
        return output

    def _judge(self, name: str, inputs: list[Tensor]) -> None:
        cut = [tensor for tensor in inputs if id(tensor) in self._made and not tensor.requires_grad]
        if name in _NUMBERS:
            self._add("item", "a number taken out of a tensor that depends on the input")
        elif name in _COPIES:
            return
        elif not torch.is_grad_enabled():
            if any(tensor.requires_grad for tensor in inputs):
                self._add(name, "under no_grad")
        elif cut:
            self._add(name, "given a value that depends on the input, but is detached from it")

    def look_for_functions(self, output: object) -> None:
        """Note the autograd Functions written in Python of which something was made."""
        for name in python_functions(output, self._known):
            self._add(name.removesuffix("Backward"), "an autograd Function with a backward of its own")

    def _add(self, operation: str, reason: str) -> None:
        self.found.add(Kink(self.layers.name, operation, reason))
