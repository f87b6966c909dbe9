"""The weights in a file: one state dict, read without running code."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import ModelError, nearest
from .files import archive_kind, check_file
from .pickles import code_in_checkpoint, from_script, read_safetensors, refuse

__all__ = ["OPTION", "Checkpoint", "read_checkpoint"]

OPTION = "model.checkpoint"

_LISTED = 12


@dataclass(frozen=True)
class Checkpoint:
    """The state dict found in a file.

    Attributes:
        path: the file.
        tensors: name -> tensor, on the CPU, as torch's `state_dict()` names them.
        notes: how it was found, where that was not obvious.
    """

    path: Path
    tensors: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def read_checkpoint(path: Path, *, key: str | None = None, trust_pickle: bool = False) -> Checkpoint:
    """Read the state dict of a `.safetensors` file or of one that `torch.save` wrote.

    Without a key, the file must be a state dict, or a mapping in which exactly one entry is a state
    dict; that entry is used and noted. Two of them (weights and their moving average, say) are an error,
    for only the job can know which is meant.

    Arguments:
        path: the file; `.safetensors` is told by its name, everything else goes to `torch.load`.
        key: dotted path inside the file, such as "state_dict". Where it ends inside a state dict, it
            selects the entries that start with it, and strips it: "state_dict.model".
        trust_pickle: let the file run code where it cannot be read otherwise.

    Raises:
        ModelError: the file is missing, damaged or would run code, or the key does not lead to a state dict.
    """
    check_file(path, OPTION)
    content: Any
    notes: tuple[str, ...] = ()
    if path.suffix == ".safetensors":
        content = read_safetensors(path, OPTION)
    else:
        content, notes = _read_torch(path, trust_pickle=trust_pickle)
    if key is not None:
        content = _entry(content, key, path)
        if _state_dict(content) is None:
            raise ModelError(f"model.checkpoint_key: {key!r} in {path} is {_describe(content)}, no state dict.")
    tensors = _state_dict(content)
    if tensors is not None:
        taken = (f"took the weights out of a pickled {type(content).__name__}",)
        return Checkpoint(path, tensors, notes + (taken if isinstance(content, nn.Module) else ()))
    return _only_state_dict(content, path, notes)


def _read_torch(path: Path, *, trust_pickle: bool) -> tuple[Any, tuple[str, ...]]:
    kind = archive_kind(path)
    if kind in ("torchscript", "exported"):
        raise ModelError(
            f"{OPTION}: {path}: is a program of kind {kind}, not a checkpoint; load it with "
            f"model: {{kind: {kind}, path: {path.name}}}."
        )
    if kind is None and zipfile.is_zipfile(path):
        raise ModelError(f"{OPTION}: {path}: is an archive, but not one that torch.save wrote.")
    try:
        return _torch_load(path, weights_only=True), ()
    except PermissionError as error:
        raise ModelError(f"{OPTION}: {path}: cannot be read: {error.strerror or error}.") from error
    except Exception as error:  # damaged pickles raise whatever their bytes happen to mean
        code = code_in_checkpoint(path, error)
        if not code:
            raise _unreadable(path, error) from error
        if not trust_pickle:
            raise refuse(path, OPTION, code) from None
    try:
        return _torch_load(path, weights_only=False), (f"unpickled {path.name} with the code it asked for",)
    except Exception as error:
        raise ModelError(
            f"{OPTION}: {path}: its pickle asks for code that fails here ({type(error).__name__}: {error})."
            f"{from_script(code)}"
        ) from error


def _torch_load(path: Path, *, weights_only: bool) -> Any:
    # mapped, a checkpoint with optimizer state costs no memory beyond the weights that are copied out
    mapped = zipfile.is_zipfile(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about protocols of pickle: what is wrong is said by an error
        return torch.load(path, map_location="cpu", weights_only=weights_only, mmap=mapped)


def _unreadable(path: Path, error: Exception) -> ModelError:
    reason = str(error).partition("\n")[0].partition(". This is an internal")[0]
    return ModelError(
        f"{OPTION}: {path}: is damaged, or not a checkpoint of torch.save or safetensors "
        f"({type(error).__name__}: {reason})."
    )


def _state_dict(content: Any) -> Mapping[str, Any] | None:
    """The state dict that `content` is or, if it is a network, has."""
    if isinstance(content, nn.Module):
        return content.state_dict()
    if not isinstance(content, Mapping) or not content:
        return None
    plain = all(
        isinstance(key, str) and (isinstance(value, Tensor) or key.endswith("_extra_state"))
        for key, value in content.items()
    )
    return content if plain else None


def _entry(content: Any, key: str, path: Path, above: str = "") -> Any:
    """What the dotted key leads to; names in files may have dots themselves."""
    if isinstance(content, nn.Module):
        content = content.state_dict()
    names = key.split(".")
    for count in range(len(names), 0, -1) if isinstance(content, Mapping) else ():
        head, rest = ".".join(names[:count]), ".".join(names[count:])
        if head in content:
            return _entry(content[head], rest, path, f"{above}{head}.") if rest else content[head]
    tensors = _state_dict(content) or {}
    below = {name[len(key) + 1 :]: value for name, value in tensors.items() if name.startswith(f"{key}.")}
    if below:
        return below
    raise _unknown_key(content, key, path, above)


def _unknown_key(content: Any, key: str, path: Path, above: str) -> ModelError:
    names = content if isinstance(content, Mapping) else ()
    starts = list(dict.fromkeys(_starts(names, depth=key.count(".") + 1)))
    listed = ", ".join(starts[:_LISTED]) + (", …" if len(starts) > _LISTED else "")
    match = nearest(key, starts)
    return ModelError(
        f"model.checkpoint_key: {above + key!r} is not in {path}."
        + (f" There is: {listed}." if listed else f" {above.rstrip('.') or 'It'} is {_describe(content)}.")
        + (f" Did you mean {above + match!r}?" if match else "")
    )


def _starts(names: Any, *, depth: int) -> list[str]:
    return [".".join(str(name).split(".")[:depth]) for name in names]


def _only_state_dict(content: Any, path: Path, notes: tuple[str, ...]) -> Checkpoint:
    entries = content if isinstance(content, Mapping) else {}
    found = {key: tensors for key, value in entries.items() if (tensors := _state_dict(value)) is not None}
    if len(found) == 1:
        [(key, tensors)] = found.items()
        return Checkpoint(path, tensors, (*notes, f"used the entry {key!r} of {path.name}"))
    if found:
        keys = ", ".join(map(str, found))
        raise ModelError(f"{OPTION}: {path}: holds several state dicts: {keys}. Set model.checkpoint_key to one.")
    raise ModelError(f"{OPTION}: {path}: is {_describe(content)}, in which no state dict was found.")


def _describe(content: Any) -> str:
    if isinstance(content, Mapping):
        if not content:
            return "an empty mapping"
        keys = ", ".join(str(key) for key in list(content)[:_LISTED])
        return f"a mapping with {keys}" + (", …" if len(content) > _LISTED else "")
    if isinstance(content, Tensor):
        return f"one tensor of shape {tuple(content.shape)}"
    return f"of type {type(content).__name__}"
