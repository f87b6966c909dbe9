"""Activations of named layers, evaluated like scores: packed, and in halves when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import JobError, ModelError, nearest, suggestion
from .packing import Packing
from .patching import ALL, HookPoint, passing, recorded, watched
from .scorer import Scorer

__all__ = [
    "find_embedding",
    "find_layer",
    "find_nested",
    "layer_activations",
    "settled_sites",
    "site_activations",
]


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
    scorer = replace(scorer, shortens=False) if scorer.shortens else scorer
    with torch.no_grad(), scorer.exact_arithmetic(), _captured(scorer.module, layers) as calls:

        def call(part: slice, rows: int) -> dict[str, Tensor]:
            calls.clear()
            here = {name: tensor[part] for name, tensor in context.items()}
            scorer.evaluate(points[part], here, rows)
            return {layer: _only(calls, layer)[: part.stop - part.start] for layer in layers}

        pieces = list(scorer.packing.run(len(points), call))
    return {layer: torch.cat([piece[layer] for piece in pieces]) for layer in layers}


def settled_sites(scorer: Scorer, inputs: Mapping[str, Tensor], calls: Sequence[Packing]) -> tuple[HookPoint, ...]:
    """The scorer's sites with their batch axes, and one for each tensor of those that stand for all of a layer.

    Arguments:
        scorer: the network.
        inputs: name -> (n, *shape), all that the network takes.
        calls: of different sizes, from which the axis of the samples is told; or one.
    """
    seen: list[dict[str, dict[str, Tensor]]] = []
    for packing in calls:
        recorded_here: dict[str, dict[str, Tensor]] = {}
        here = {name: tensor[: packing.rows] for name, tensor in inputs.items()}
        with torch.no_grad(), scorer.exact_arithmetic(), watched(scorer.sites, recorded_here):
            _called(scorer, here, packing.rows)
        seen.append(recorded_here)
    sites: list[HookPoint] = []
    for site in scorer.sites:
        tensors = [recorded_here.get(site.name, {}) for recorded_here in seen]
        for one in _sites_of_parts(site, tensors[0]):
            part = "" if one.part is None else str(one.part)
            shapes = [named[part].shape for named in tensors if part in named]
            sites.append(replace(one, batch_axis=_batch_axis(shapes, [packing.rows for packing in calls])))
    return tuple(sites)


def _sites_of_parts(site: HookPoint, tensors: Mapping[str, Tensor]) -> list[HookPoint]:
    floating = [name for name, tensor in tensors.items() if tensor.is_floating_point()]
    if site.part != ALL or not floating:
        return [site]
    if floating == [""]:
        return [replace(site, part=None)]
    return [replace(site, name=f"{site.name}.{part}", part=part) for part in floating]


def _batch_axis(shapes: Sequence[torch.Size], rows: Sequence[int]) -> int:
    """The first axis that is as long as there are rows in every call; 0 if none is."""
    if len(shapes) < len(rows):
        return 0
    axes = range(min(map(len, shapes)))
    return next((k for k in axes if all(s[k] == n for s, n in zip(shapes, rows, strict=True))), 0)


def _called(scorer: Scorer, inputs: Mapping[str, Tensor], rows: int) -> None:
    """Run the network once on its own inputs, filled up to so many rows."""
    _, filled = scorer.fill(next(iter(inputs.values())), inputs, rows)
    scorer.called({spec.name: filled[spec.name].clone() for spec in scorer.inputs})


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
        ModelError: a site is not passed exactly once, there is no such tensor, or it has no axis that counts the
            rows of a call.
    """

    def call(part: slice, rows: int) -> dict[str, Tensor]:
        scorer.interrupt()
        here = {name: tensor[part] for name, tensor in inputs.items()}
        tensors: dict[str, Tensor] = {}
        with recorded(scorer.sites, tensors):
            _called(scorer, here, rows)
        for site in scorer.sites:
            _check_rows(site, tensors[site.name], rows)
        return {name: tensor[: part.stop - part.start] for name, tensor in tensors.items()}

    count = len(next(iter(inputs.values())))
    with torch.no_grad(), scorer.exact_arithmetic():
        pieces = list((packing or scorer.packing).run(count, call))
    return {site.name: torch.cat([piece[site.name] for piece in pieces]) for site in scorer.sites}


def find_nested(scorer: Scorer, inputs: Mapping[str, Tensor], rows: int) -> tuple[str, str] | None:
    """Names of two explained tensors of which the second is computed from the first; None if there are none.

    Arguments:
        scorer: the network, with its sites.
        inputs: name -> (n, *shape), all that the network takes.
        rows: of the call.
    """
    leaves: dict[str, Tensor] = {}
    nested: list[tuple[str, str]] = []

    def follow(site: HookPoint, own: Tensor) -> Tensor:
        if own.requires_grad:
            gradients = torch.autograd.grad(own.sum(), list(leaves.values()), retain_graph=True, allow_unused=True)
            nested.extend(
                (name, site.name) for name, each in zip(leaves, gradients, strict=True) if each is not None
            )
        leaves[site.name] = own.detach().clone().requires_grad_()
        return leaves[site.name].clone()  # what follows may work in place

    explained = [spec.name for spec in scorer.layout.specs]
    _, filled = scorer.fill(next(iter(inputs.values())), inputs, rows)
    tensors = {spec.name: filled[spec.name].clone() for spec in scorer.inputs}
    for name in explained:
        if name in tensors:
            leaves[name] = tensors[name].requires_grad_()
            tensors[name] = leaves[name].clone()
    with torch.enable_grad(), scorer.exact_arithmetic(), passing(scorer.sites, follow):
        scorer.called(tensors)
    return nested[0] if nested else None


def _check_rows(site: HookPoint, tensor: Tensor, rows: int) -> None:
    if tensor.ndim == 0 or len(tensor) != rows:
        raise ModelError(
            f"{site.key}: {site.layer!r}: the tensor has shape {tuple(tensor.shape)} for {rows} samples; only one "
            "with an axis that counts the samples can be explained."
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


_MOST_SHOWN = 40


def find_layer(network: nn.Module, name: str, key: str) -> tuple[str, nn.Module]:
    """The full name and the module of a layer.

    Arguments:
        network: to look in.
        name: such as "encoder.layer.3", or "layer.3" if no other name ends like that.
        key: dotted key of the job that gives the name; begins the error.

    Raises:
        JobError: there is no such layer, or the ending fits several.
    """
    layers = {path: part for path, part in network.named_modules(remove_duplicate=False) if path}
    if name in layers:
        return name, layers[name]
    fitting = [path for path in layers if path.endswith(f".{name}")]
    if len(fitting) == 1:
        return fitting[0], layers[fitting[0]]
    if fitting:
        raise JobError(f"{key}: {name!r} is the end of several names: {', '.join(fitting)}. Give one in full.")
    if not layers:
        raise JobError(
            f"{key}: {name!r}: the network has no layers with names: it is a single module, or a program "
            "whose inside cannot be reached. Load it with kind: python from its code and a state dict."
        )
    raise JobError(f"{key}: {name!r}: the model has no such layer.{_hint(name, list(layers))}")


def find_embedding(network: nn.Module) -> tuple[str, nn.Module]:
    """The embedding that turns the network's ids into vectors.

    It is what a language model calls its input embeddings, or the only `nn.Embedding` of a network.

    Raises:
        ModelError: there is none, or there are several.
    """
    names = {part: path for path, part in network.named_modules()}
    for part in network.modules():
        embedding = _input_embeddings(part)
        if embedding in names:
            return names[embedding], embedding
    embeddings = {p: m for p, m in network.named_modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    if len(embeddings) == 1:
        return next(iter(embeddings.items()))
    if embeddings:
        raise ModelError(
            f"explain.embedding: 'auto': the model has several embeddings: {', '.join(embeddings)}. Name one, or "
            "those that you mean as a list."
        )
    raise ModelError(
        "explain.embedding: 'auto': the model has no nn.Embedding. Name the module that turns ids into vectors: "
        "explain: {layer: name}."
    )


def _input_embeddings(part: nn.Module) -> Any:
    """What a model of transformers calls its input embeddings; None if it has none."""
    getter = getattr(part, "get_input_embeddings", None)
    try:
        return getter() if callable(getter) else None
    except NotImplementedError:
        return None


def _hint(name: str, layers: list[str]) -> str:
    if len(layers) <= _MOST_SHOWN:
        return suggestion(name, layers)
    match = nearest(name, layers)
    outer = ", ".join(path for path in layers if "." not in path)
    return f" Its {len(layers)} layers lie in {outer}." + (f" Did you mean {match!r}?" if match else "")
