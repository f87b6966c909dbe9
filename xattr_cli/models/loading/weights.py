"""Weights that fit: a checkpoint copied into the network that a factory built."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ...errors import ModelError
from ...fingerprint import fingerprint_arrays
from .checkpoint import OPTION, Checkpoint

__all__ = ["check_weights", "fingerprint_weights", "load_weights"]

_SHOWN = 3


_HARMLESS = ("position_ids", "total_ops", "total_params", "num_batches_tracked", "rotary_emb.inv_freq")
"""Last parts of names that are no weights: counters, and tables that the network makes itself."""


def load_weights(network: nn.Module, checkpoint: Checkpoint, *, report: bool = False) -> tuple[str, ...]:
    """Copy a checkpoint into a network; every name and shape must fit.

    A weight that the network has under several names may be in the file under one of them. Counters and tables of
    positions may be there or not.

    Names that `torch.compile` or `DataParallel` prefixed are freed of the prefix. A network narrower
    than its checkpoint takes the checkpoint's dtype, so that no weight is rounded; a checkpoint narrower
    than the network is widened, which is exact.

    Arguments:
        network: changed in place.
        checkpoint: what `read_checkpoint` found.
        report: names that are missing, or that the network does not have, are noted and not refused.

    Returns:
        What was done beyond copying, for `LoadedModel.notes`.

    Raises:
        ModelError: names or shapes differ; it lists the first few of each.
    """
    checkpoint = _without_wrappers(checkpoint, network)
    notes = checkpoint.notes + _match_precision(network, checkpoint.tensors)
    own = dict(network.state_dict())
    try:
        result = network.load_state_dict(checkpoint.tensors, strict=False)
    except RuntimeError as error:
        shapes = _shape_faults(own, checkpoint.tensors)
        raise _misfit(checkpoint, shapes or [" ".join(str(error).split())], own) from error
    shared = _shared(own, result.missing_keys, set(checkpoint.tensors))
    missing = [name for name in result.missing_keys if name not in shared and not _is_harmless(name)]
    extra = [name for name in result.unexpected_keys if not _is_harmless(name)]
    passed_over = [name for name in result.unexpected_keys if _is_harmless(name)]
    notes += tuple(_listed("one tensor under several names, in the file once", sorted(shared)))
    notes += tuple(_listed("passed over in the file, no weights", passed_over))
    faults = [*_listed("missing in the file", missing), *_listed("not in the network", extra)]
    if faults and not (report and len(result.missing_keys) < len(own)):
        raise _misfit(checkpoint, faults, own)
    told = [
        *_listed("NOT LOADED, missing in the file", missing),
        *_listed("not in the network, passed over", extra),
    ]
    return notes + tuple(f"{text} (model.strict: report)" for text in told)


def _is_harmless(name: str) -> bool:
    return name.endswith(_HARMLESS)


def _shared(own: Mapping[str, Any], missing: Iterable[str], given: set[str]) -> set[str]:
    """Names that share the memory of a weight that is in the file: tied weights, which safetensors keeps once."""
    places = {_place(own[name]) for name in given if isinstance(own.get(name), Tensor)}
    return {name for name in missing if isinstance(own[name], Tensor) and _place(own[name]) in places}


def _place(tensor: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def check_weights(network: nn.Module) -> None:
    """Refuse weights that no attribution can be computed with.

    Raises:
        ModelError: a parameter holds NaN, or belongs to a lazy layer that was never called.
    """
    for name, parameter in network.named_parameters():
        if is_lazy(parameter):
            raise ModelError(
                f"model: the parameter {name!r} has no shape yet: it belongs to a lazy layer. "
                "Give a checkpoint, or call the network once in its factory."
            )
        if parameter.is_floating_point() and bool(parameter.isnan().any()):
            raise ModelError(f"model: the parameter {name!r} holds NaN: the training seems to have diverged.")


def fingerprint_weights(network: nn.Module) -> str:
    """SHA-256 of a network's state dict: names, dtypes, shapes and every byte."""
    return fingerprint_arrays(_arrays(network.state_dict()))


def _arrays(tensors: Mapping[str, Any]) -> Iterable[np.ndarray]:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            continue
        yield np.array([name, str(tensor.dtype), str(tuple(tensor.shape))])
        # through bytes, as numpy has no bfloat16
        yield tensor.detach().cpu().to_dense().contiguous().reshape(-1).view(torch.uint8).numpy()


def _without_wrappers(checkpoint: Checkpoint, network: nn.Module) -> Checkpoint:
    """Names as they were before `torch.compile` and `DataParallel` prefixed them."""
    own = list(network.state_dict())
    tensors, notes = checkpoint.tensors, list(checkpoint.notes)
    if _any(tensors, "_orig_mod.") and not _any(own, "_orig_mod."):
        tensors = {name.replace("_orig_mod.", ""): value for name, value in tensors.items()}
        notes.append("stripped '_orig_mod.' (torch.compile) from the names of the weights")
    if _all_start(tensors, "module.") and not _all_start(own, "module."):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
        notes.append("stripped 'module.' (DataParallel) from the names of the weights")
    return replace(checkpoint, tensors=tensors, notes=tuple(notes))


def _any(names: Iterable[str], part: str) -> bool:
    return any(part in name for name in names)


def _all_start(names: Iterable[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _match_precision(network: nn.Module, tensors: Mapping[str, Any]) -> tuple[str, ...]:
    """Widen the network to its checkpoint if it is narrower, and say how the dtypes differ."""
    own = _float_types(network.state_dict())
    given = _float_types(tensors)
    if len(given) != 1 or not own or given == own:
        return _precision_note(own, given)
    [dtype] = given
    if not all(_holds(dtype, other) for other in own):
        return _precision_note(own, given)
    network.to(dtype)
    return (f"the weights are {_name(dtype)}: so is the network now",)


def _precision_note(own: set[torch.dtype], dtypes: set[torch.dtype]) -> tuple[str, ...]:
    if not own or dtypes <= own:
        return ()
    exact = all(_holds(wide, narrow) for wide in own for narrow in dtypes)
    how = "widened exactly" if exact else "rounded where they are wider"
    return (f"the weights are {_names(dtypes)}: {how} to the network's {_names(own)}",)


def _holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Whether every number of `narrow` is one of `wide`."""
    # by size, since torch.promote_types refuses 8-bit floats
    return wide == narrow or torch.finfo(wide).bits > torch.finfo(narrow).bits


def _float_types(tensors: Mapping[str, Any]) -> set[torch.dtype]:
    return {t.dtype for t in tensors.values() if isinstance(t, Tensor) and t.is_floating_point()}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _names(dtypes: Iterable[torch.dtype]) -> str:
    return " and ".join(sorted(map(_name, dtypes)))


def _shape_faults(own: Mapping[str, Any], tensors: Mapping[str, Any]) -> list[str]:
    pairs = [(name, tensors[name], own[name]) for name in own if name in tensors]
    differing = [
        f"{name} is {_shape(theirs)} in the file and {_shape(ours)} in the network"
        for name, theirs, ours in pairs
        if isinstance(ours, Tensor) and not is_lazy(ours) and ours.shape != theirs.shape
    ]
    return _listed("shapes differ", differing)


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _listed(what: str, names: list[str]) -> list[str]:
    """`what (count): the first few`, or nothing."""
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return [f"{what}: {', '.join(names[:_SHOWN])}{rest}"] if names else []


def _misfit(checkpoint: Checkpoint, faults: list[str], own: Mapping[str, Any]) -> ModelError:
    return ModelError(
        f"{OPTION}: {checkpoint.path}: does not fit the network. {'; '.join(faults)}. "
        + _way_out(list(own), list(checkpoint.tensors))
    )


def _way_out(own: list[str], keys: list[str]) -> str:
    """Where in the file the network's names are, if they only lie deeper."""
    known = set(keys)
    first = own[0] if own else ""
    for name in keys:
        prefix = name.removesuffix(f".{first}")
        if prefix != name and all(f"{prefix}.{other}" in known for other in own):
            return f"All of the network's names follow {prefix!r}: let model.checkpoint_key end with it."
    return (
        "The network must be built as it was when its weights were saved: compare model.kwargs. If what differs "
        "is no part of it, model.strict: report notes it and goes on."
    )
