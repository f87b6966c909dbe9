"""Activations of named layers, evaluated like scores: packed, and in halves when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..errors import ModelError
from .layers import find_layer
from .packing import Packing
from .patching import Site, recorded
from .scorer import Scorer

__all__ = ["layer_activations", "site_activations"]


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
    # calls of the same length, so that their results fit together
    whole = scorer.shortening(False)
    with torch.no_grad(), scorer.exact_arithmetic(), whole, _captured(scorer.module, layers) as calls:

        def call(part: slice, rows: int) -> dict[str, Tensor]:
            calls.clear()
            here = {name: tensor[part] for name, tensor in context.items()}
            scorer.evaluate(points[part], here, rows)
            return {layer: _only(calls, layer)[: part.stop - part.start] for layer in layers}

        found = list(scorer.packing.run(len(points), call))
    return {layer: torch.cat([piece[layer] for piece in found]) for layer in layers}


def site_activations(
    scorer: Scorer, inputs: Mapping[str, Tensor], packing: Packing | None = None
) -> dict[str, Tensor]:
    """The tensors at the scorer's sites for some inputs.

    Arguments:
        scorer: the network.
        inputs: name -> (n, *shape), all that the network takes.
        packing: rows per call; None for the scorer's own.

    Returns:
        site -> (n, *shape).

    Raises:
        ModelError: a site is not passed exactly once, there is no such tensor, or its first axis does not
            count the rows of a call.
    """

    def call(part: slice, rows: int) -> dict[str, Tensor]:
        scorer.interrupt()
        here = {name: tensor[part] for name, tensor in inputs.items()}
        _, filled = scorer.fill(next(iter(here.values())), here, rows)
        found: dict[str, Tensor] = {}
        with recorded(scorer.sites, found):
            scorer.module(*(filled[spec.name].clone() for spec in scorer.inputs))
        for site in scorer.sites:
            _check_rows(site, found[site.name], rows)
        return {name: tensor[: part.stop - part.start] for name, tensor in found.items()}

    count = len(next(iter(inputs.values())))
    with torch.no_grad(), scorer.exact_arithmetic():
        pieces = list((packing or scorer.packing).run(count, call))
    return {site.name: torch.cat([piece[site.name] for piece in pieces]) for site in scorer.sites}


def _check_rows(site: Site, tensor: Tensor, rows: int) -> None:
    if tensor.ndim == 0 or len(tensor) != rows:
        raise ModelError(
            f"{site.key}: {site.layer!r}: the tensor has shape {tuple(tensor.shape)} for {rows} samples; only one "
            "whose first axis counts the samples can be explained."
        )


@contextmanager
def _captured(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """While open, every call of one of the layers leaves its output in the mapping."""
    calls: dict[str, list[Tensor]] = {}
    handles = []
    for layer in layers:
        _, part = find_layer(module, layer, "layers")

        def keep(_module: nn.Module, _inputs: object, output: object, name: str = layer) -> None:
            if not isinstance(output, Tensor):
                raise ModelError(f"layers: {name!r} returns a {type(output).__name__}, not one tensor.")
            calls.setdefault(name, []).append(output.detach().flatten(start_dim=1).clone())

        handles.append(part.register_forward_hook(keep))
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
