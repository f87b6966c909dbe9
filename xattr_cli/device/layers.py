"""Layers of a network by name: the whole dotted name, or an ending that only one of them has."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..errors import JobError, ModelError, nearest, suggestion

__all__ = ["find_embedding", "find_layer"]

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
        found = _input_embeddings(part)
        if found in names:
            return names[found], found
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
    given = getattr(part, "get_input_embeddings", None)
    try:
        return given() if callable(given) else None
    except NotImplementedError:
        return None


def _hint(name: str, layers: list[str]) -> str:
    if len(layers) <= _MOST_SHOWN:
        return suggestion(name, layers)
    match = nearest(name, layers)
    outer = ", ".join(path for path in layers if "." not in path)
    return f" Its {len(layers)} layers lie in {outer}." + (f" Did you mean {match!r}?" if match else "")
