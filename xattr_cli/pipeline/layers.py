"""Tensors inside the network that a job explains: found by name, and read for every sample of the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from torch import Tensor, nn

from ..datasets import Samples
from ..datasets.activated import ActivatedSamples
from ..datasets.scaling import default_axes
from ..device import (
    HookPoint,
    Packing,
    Scorer,
    find_embedding,
    find_layer,
    find_nested,
    settled_sites,
    site_activations,
)
from ..errors import Interrupted, ModelError, XattrError
from ..job.sections import AUTO, Explain
from ..samples import InputSpec, Layout
from .checks.outputs import PROBE_SAMPLES
from .checks.reasons import does_not_run

__all__ = ["find_sites", "look_inside"]

PROBE_CALLS = (2, 3)


def find_sites(explain: Explain, network: nn.Module) -> tuple[HookPoint, ...]:
    """Where the network passes the tensors that are explained instead of inputs.

    Raises:
        JobError: there is no such layer.
        ModelError: `auto`, and there is not exactly one embedding.
    """
    embeddings = []
    for name in explain.embedding:
        layer = find_embedding(network) if name == AUTO else find_layer(network, name, "explain.embedding")
        embeddings.append(HookPoint(layer[0], *layer, key="explain.embedding"))
    layers = []
    for name in explain.layer:
        path, module = find_layer(network, name, "explain.layer")
        tensor = path if explain.side == "output" else f"{path}.input"
        for part in explain.parts:
            named = tensor if len(explain.parts) == 1 else f"{tensor}.{part}"
            layers.append(HookPoint(named, path, module, "explain.layer", explain.side, part))
    return (*embeddings, *layers)


def look_inside(scorer: Scorer, samples: Samples) -> tuple[Scorer, Samples]:
    """The network and its dataset with the tensors at the scorer's sites among what is explained, if it has any.

    The sites of the scorer returned know which of them run along a padded sequence.

    Raises:
        ModelError: a site is not passed exactly once; its tensor has no gradient, does not begin with the
            axis of the samples, or has a shape that depends on the data.
    """
    if not scorer.sites:
        return scorer, samples
    batch = samples.read(0, min(PROBE_SAMPLES, len(samples)))
    inputs = {name: scorer.tensor(values) for name, values in batch.inputs.items()}
    calls = [scorer.packing] if scorer.packing.fixed else [Packing(rows) for rows in PROBE_CALLS]
    try:
        scorer = replace(scorer, sites=settled_sites(scorer, inputs, calls))
        activations = [site_activations(scorer, inputs, packing) for packing in calls]
        _refuse_nested(scorer, inputs, calls[0].rows)
    except XattrError:
        raise
    except Exception as error:
        raise does_not_run(scorer, len(batch), error) from error
    for site in scorer.sites:
        _check_tensor(site, [tensors[site.name] for tensors in activations])
    sites = tuple(_along(site, scorer, samples, inputs, activations[0][site.name]) for site in scorer.sites)
    scorer = replace(scorer, sites=sites)
    specs = tuple(_spec(site, activations[0][site.name].to(scorer.dtype), samples) for site in scorer.sites)
    taken = [spec.name for spec in samples.inputs]
    for site in scorer.sites:
        if site.name in taken:
            raise ModelError(
                f"{site.key}: {site.layer!r} has the name of an input of the dataset; rename that in the dataset."
            )
    activated = ActivatedSamples(samples, specs, partial(_activate, scorer, specs))
    return replace(scorer, layout=Layout((*scorer.layout.specs, *specs))), activated


def _refuse_nested(scorer: Scorer, inputs: Mapping[str, Tensor], rows: int) -> None:
    """Refuse two explained tensors of which one is computed from the other: a map would lack what is between."""
    if len(scorer.sites) + len(scorer.layout.specs) < 2:
        return
    try:
        nested = find_nested(scorer, {name: tensor[:rows] for name, tensor in inputs.items()}, rows)
    except Interrupted:
        raise
    except Exception:  # a network without gradients; whether any are needed is for others to say
        nested = None
    if nested is not None:
        first, second = nested
        raise ModelError(
            f"{scorer.sites[-1].key}: {second!r} is computed from {first!r}. On one path both are "
            f"replaced at once, so that what {first!r} does through {second!r} would be missing in its map. "
            f"Explain each in a job of its own, such as with --set explain.layer={first} and another output.path."
        )


def _activate(
    scorer: Scorer, specs: tuple[InputSpec, ...], inputs: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    if not len(next(iter(inputs.values()))):
        return {spec.name: np.empty((0, *spec.shape), spec.dtype) for spec in specs}
    activations = site_activations(scorer, {name: scorer.tensor(values) for name, values in inputs.items()})
    return {name: tensor.to(scorer.dtype).cpu().numpy() for name, tensor in activations.items()}


def _check_tensor(site: HookPoint, tensors: list[Tensor]) -> None:
    first = tensors[0]
    if not first.is_floating_point():
        raise ModelError(
            f"{site.key}: {site.layer!r} returns {str(first.dtype).removeprefix('torch.')}, which has no gradient."
        )
    for other in tensors[1:]:
        if other.shape[1:] != first.shape[1:]:
            raise ModelError(
                f"{site.key}: {site.layer!r}: the tensor has shape {tuple(first.shape)} in one call and "
                f"{tuple(other.shape)} in another; it can be explained only if its shape is always the same."
            )


def _along(
    site: HookPoint, scorer: Scorer, samples: Samples, inputs: Mapping[str, Tensor], activation: Tensor
) -> HookPoint:
    """The site with the padded sequence that its tensor runs along, if it does."""
    for spec in samples.inputs:
        length = spec.shape[0] if spec.shape else 0
        if not spec.sequence or activation.ndim < 2 or activation.shape[1] != length:
            continue
        shorter = _shape_if_shorter(site, scorer, samples, inputs, spec.sequence)
        is_embedding = site.key == "explain.embedding"
        if shorter == length - 1 or (shorter is None and is_embedding):
            return replace(site, sequence=spec.sequence)
    return site


def _shape_if_shorter(
    site: HookPoint, scorer: Scorer, samples: Samples, inputs: Mapping[str, Tensor], sequence: str
) -> int | None:
    """Length of the tensor when a sequence lacks its last step; None if the network does not run on it."""
    along = {spec.name for spec in samples.inputs if spec.sequence == sequence}
    cut = {name: tensor[:, :-1] if name in along else tensor for name, tensor in inputs.items()}
    try:
        return site_activations(scorer, cut)[site.name].shape[1]
    except Interrupted:
        raise
    except Exception:  # it takes no other length, and says so in whatever way it likes
        return None


def _spec(site: HookPoint, activation: Tensor, samples: Samples) -> InputSpec:
    shape = tuple(activation.shape[1:])
    axes = default_axes(shape)
    if site.key == "explain.embedding" and len(shape) <= 2:
        axes = ("token", "embedding")[-len(shape) :]
    elif site.sequence and len(shape) == 2:
        axes = ("step" if samples.vocabulary is None else "token", "feature")
    dtype = np.dtype(str(activation.dtype).removeprefix("torch."))
    return InputSpec(site.name, shape, dtype, axes, sequence=site.sequence)
