"""Activations of named layers, evaluated like scores: packed, and in halves when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import JobError, ModelError, suggestion
from .scorer import Scorer

__all__ = ["layer_activations"]


def layer_activations(
    scorer: Scorer, points: Tensor, context: Mapping[str, Tensor], layers: Sequence[str]
) -> dict[str, Tensor]:
    """What layers return at some points.

    Arguments:
        scorer: the network.
        points, context: (n, D) points and what goes with them.
        layers: names of submodules, each called once per forward pass, each returning one tensor.

    Returns:
        layer -> (n, features), flattened.

    Raises:
        JobError: there is no such layer.
        ModelError: a layer is not called exactly once, or does not return one tensor.
    """
    with torch.no_grad(), scorer.exact_arithmetic(), _captured(scorer.module, layers) as calls:

        def call(part: slice, rows: int) -> dict[str, Tensor]:
            calls.clear()
            here = {name: tensor[part] for name, tensor in context.items()}
            scorer.evaluate(points[part], here, rows)
            return {layer: _only(calls, layer)[: part.stop - part.start] for layer in layers}

        found = list(scorer.packing.run(len(points), call))
    return {layer: torch.cat([piece[layer] for piece in found]) for layer in layers}


@contextmanager
def _captured(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """While open, every call of one of the layers leaves its output in the mapping."""
    parts = {name: part for name, part in module.named_modules() if name}
    calls: dict[str, list[Tensor]] = {}
    handles = []
    for layer in layers:
        if layer not in parts:
            raise JobError(f"layers: {layer!r}: the model has no such layer.{suggestion(layer, parts)}")

        def keep(_module: nn.Module, _inputs: object, output: object, name: str = layer) -> None:
            if not isinstance(output, Tensor):
                raise ModelError(f"layers: {name!r} returns a {type(output).__name__}, not one tensor.")
            calls.setdefault(name, []).append(output.detach().flatten(start_dim=1).clone())

        handles.append(parts[layer].register_forward_hook(keep))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _only(calls: Mapping[str, list[Tensor]], layer: str) -> Tensor:
    outputs = calls.get(layer, [])
    if len(outputs) != 1:
        raise ModelError(
            f"layers: {layer!r} is called {len(outputs)} times in a forward pass; once is needed to follow it."
        )
    return outputs[0]
