"""Saturation of layers along a path (Sundararajan, Taly, Yan 2016, section 2.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..device import Rows, Scorer
from ..errors import JobError, ModelError, suggestion
from ..numerics.paths import StraightPath

__all__ = ["saturation"]


def saturation(scorer: Scorer, rows: Rows, path: StraightPath, alpha: Tensor, layers: Sequence[str]) -> Tensor:
    """Cosine between the activation of a layer at γ(α) and at the input.

    Arguments:
        scorer: the network.
        rows, path: the block and its paths.
        alpha: (alphas,) positions, the last of them 1.
        layers: names of submodules, each called once per forward pass, each returning one tensor.

    Returns:
        (rows, layers, alphas); a layer that is 1 well before α = 1 has saturated.

    Raises:
        JobError: there is no such layer.
        ModelError: a layer is not called, called twice, or does not return one tensor.
    """
    found = path.input.new_empty(len(path.input), len(layers), len(alpha))
    everywhere = torch.arange(len(alpha), device=alpha.device)
    with _captured(scorer.module, layers) as calls:
        for row in range(len(path.input)):
            of_row = torch.full_like(everywhere, row)
            points = path.at(of_row, alpha).take(slice(None))
            context = {name: tensor[of_row] for name, tensor in rows.context.items()}
            calls.clear()
            scorer.scores(points, context)
            for j, layer in enumerate(layers):
                activation = _joined(calls, layer, len(alpha), scorer.packing.calls(len(alpha)))
                found[row, j] = torch.cosine_similarity(activation, activation[-1:], dim=1)
    return found


@contextmanager
def _captured(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """While open, every call of one of the layers leaves its output in the mapping."""
    parts = dict(module.named_modules())
    calls: dict[str, list[Tensor]] = {}
    handles = []
    for layer in layers:
        if layer not in parts:
            raise JobError(f"layers: {layer!r}: the model has no such layer.{suggestion(layer, parts)}")

        def keep(_module: nn.Module, _inputs: object, output: object, name: str = layer) -> None:
            if not isinstance(output, Tensor):
                raise ModelError(f"layers: {name!r} returns a {type(output).__name__}, not one tensor.")
            calls.setdefault(name, []).append(output.detach().clone())

        handles.append(parts[layer].register_forward_hook(keep))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _joined(calls: dict[str, list[Tensor]], layer: str, points: int, expected: int) -> Tensor:
    outputs = calls.get(layer, [])
    if len(outputs) != expected:
        times = len(outputs) / expected
        raise ModelError(
            f"layers: {layer!r} is called {times:g} times in a forward pass; once is needed to follow it."
        )
    return torch.cat([output.flatten(start_dim=1) for output in outputs])[:points]
