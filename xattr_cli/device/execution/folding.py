"""Batch normalisations of a network in eval mode, folded into the convolutions that feed them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["folded"]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def folded(module: nn.Module, inputs: Sequence[Tensor]) -> nn.Module:
    """A copy of a network whose batch normalisations are part of the convolutions before them.

    Which belong together is seen in one forward pass, so that code which no tracer understands can be
    folded too. A convolution whose output goes elsewhere as well cannot be told from one whose output does
    not: whoever folds compares the results.

    Arguments:
        module: in eval mode; it is not changed.
        inputs: of the pass.

    Raises:
        RuntimeError: there is nothing to fold.
    """
    with _watched(module) as pairs, torch.no_grad():
        module(*inputs)
    if not pairs:
        raise RuntimeError("no batch normalisation follows a convolution")
    made = copy.deepcopy(module)
    for normalisation, convolution in pairs.items():
        before: Any = made.get_submodule(convolution)
        after: Any = made.get_submodule(normalisation)
        fused = fuse_conv_bn_eval(before, after)
        _replace(made, convolution, fused)
        _replace(made, normalisation, nn.Identity())
    return made.eval().requires_grad_(False)


@contextmanager
def _watched(module: nn.Module) -> Iterator[dict[str, str]]:
    """Name of a normalisation -> name of the convolution whose output it takes, of those called once."""
    outputs: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, lest its address be used again
    calls: dict[str, int] = {}
    pairs: dict[str, str] = {}

    def after(name: str, layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[name] = calls.get(name, 0) + 1
        if isinstance(layer, _CONVOLUTIONS):
            outputs[id(output)] = name, output
        elif id(inputs[0]) in outputs:
            pairs[name] = outputs[id(inputs[0])][0]

    with ExitStack() as stack:
        for name, layer in module.named_modules():
            if isinstance(layer, _CONVOLUTIONS + _NORMALISATIONS):
                stack.callback(layer.register_forward_hook(partial(after, name)).remove)
        yield pairs
    for normalisation, convolution in [*pairs.items()]:
        if calls[normalisation] > 1 or calls[convolution] > 1:
            del pairs[normalisation]


def _replace(module: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(module.get_submodule(parent), child, layer)
