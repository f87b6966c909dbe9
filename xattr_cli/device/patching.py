"""Tensors inside a network that are explained: read where the data pass them, and replaced by points of a path.

An embedding and any other layer are treated alike. The network runs on its true inputs, so that masks,
positions and lengths are those of the sample; where it comes to an explained tensor, it goes on with the point.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import ModelError, suggestion
from .padding import pinned

__all__ = ["HookPoint", "passing", "recorded", "replaced"]

React = Callable[["HookPoint", Tensor], Tensor]


@dataclass(frozen=True)
class HookPoint:
    """A place in a network where a tensor is explained.

    Attributes:
        name: of the tensor, in the layout and in files.
        layer: full name of the module.
        module: the module itself.
        key: dotted key of the job that asks for it; begins every error.
        side: whether what the module returns or what it is given is explained.
        part: which of several tensors: a position, or a name; None if there is only one.
        sequence: padded sequence that the first axis of a sample runs along; empty for none.
    """

    name: str
    layer: str
    module: nn.Module
    key: str
    side: Literal["input", "output"] = "output"
    part: int | str | None = None
    sequence: str = ""


@contextmanager
def passing(sites: Sequence[HookPoint], react: React) -> Iterator[None]:
    """Run a network once inside: wherever it passes a site, it goes on with `react(site, its own tensor)`.

    Raises:
        ModelError: a site is not passed exactly once, or there is no such tensor.
    """
    passed: Counter[str] = Counter()
    handles: list[RemovableHandle] = []
    try:
        for site in sites:
            handles.append(_watch(site, react, passed))
        yield
    finally:
        for handle in handles:
            handle.remove()
    for site in sites:
        if passed[site.name] != 1:
            raise ModelError(f"{site.key}: {site.layer!r} {_not_once(passed[site.name])}")


@contextmanager
def recorded(sites: Sequence[HookPoint], into: dict[str, Tensor]) -> Iterator[None]:
    """Run a network once inside: the tensors at the sites are left, as copies, in `into`."""

    def keep(site: HookPoint, own: Tensor) -> Tensor:
        # a copy: what follows may work in place
        into[site.name] = own.detach().clone()
        return own

    with passing(sites, keep):
        yield


@contextmanager
def replaced(
    sites: Sequence[HookPoint], values: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> Iterator[None]:
    """Run a network once inside: at the sites it goes on with other values, except in padding.

    Arguments:
        sites: where.
        values: site -> (n, *shape), as long as the longest sequence of the dataset.
        masks: sequence -> (n, steps) bool of the call, which may be shorter.
    """

    def put(site: HookPoint, own: Tensor) -> Tensor:
        given = values[site.name].to(own.dtype)  # a network in half precision goes on in its own type
        if site.sequence in masks:
            given = pinned(given[:, : own.shape[1]], own, masks[site.sequence])
        if given.shape != own.shape:
            raise ModelError(
                f"{site.key}: {site.layer!r}: the tensor has shape {tuple(own.shape)} in this call and "
                f"{tuple(given.shape)} in others; it can be explained only if its shape is always the same."
            )
        return given

    with passing(sites, put):
        yield


def _watch(site: HookPoint, react: React, passed: Counter[str]) -> RemovableHandle:
    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        passed[site.name] += 1
        given: dict[int | str, Any] = dict([*enumerate(args), *kwargs.items()])
        part = _only_tensor(given, site, "takes") if site.part is None else site.part
        given[part] = react(site, _tensor(given, part, site, "takes"))
        return tuple(given[i] for i in range(len(args))), {name: given[name] for name in kwargs}

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        passed[site.name] += 1
        if isinstance(output, Tensor) and site.part is None:
            return react(site, output)
        parts = _parts(output, site)
        if site.part is None:
            raise _several(parts, site, "returns")
        return _with_part(output, site.part, react(site, _tensor(parts, site.part, site, "returns")))

    if site.side == "input":
        return site.module.register_forward_pre_hook(before, with_kwargs=True)
    return site.module.register_forward_hook(after)


def _parts(output: Any, site: HookPoint) -> dict[int | str, Any]:
    if isinstance(output, Mapping):
        return dict(output)
    if isinstance(output, tuple | list):
        return dict(enumerate(output))
    what = "one tensor" if isinstance(output, Tensor) else f"a {type(output).__name__}"
    reason = f"explain.part: {site.part!r} has no meaning" if isinstance(output, Tensor) else "it has no parts"
    raise ModelError(f"{site.key}: {site.layer!r} returns {what}: {reason}.")


def _only_tensor(given: Mapping[int | str, Any], site: HookPoint, verb: str) -> int | str:
    tensors = [part for part, value in given.items() if isinstance(value, Tensor)]
    if len(tensors) != 1:
        raise _several(given, site, verb)
    return tensors[0]


def _tensor(given: Mapping[int | str, Any], part: int | str, site: HookPoint, verb: str) -> Tensor:
    if part not in given:
        raise ModelError(
            f"explain.part: {part!r}: {site.layer!r} {verb} no such tensor.{suggestion(part, _names(given))}"
        )
    value = given[part]
    if not isinstance(value, Tensor):
        raise ModelError(f"{site.key}: {site.layer!r} {verb} a {type(value).__name__} there, not a tensor.")
    if not value.is_floating_point():
        raise ModelError(
            f"{site.key}: {site.layer!r} {verb} {str(value.dtype).removeprefix('torch.')} there, which has no "
            "gradient. Explain what comes out of it: side: output."
        )
    return value


def _several(given: Mapping[int | str, Any], site: HookPoint, verb: str) -> ModelError:
    listed = _names(given)
    if not listed:
        return ModelError(f"{site.key}: {site.layer!r} {verb} no tensor.")
    return ModelError(
        f"{site.key}: {site.layer!r} {verb} several values (tensors: {', '.join(listed)}); choose one, such as "
        f"explain: {{layer: {site.layer}, side: {site.side}, part: {listed[0]}}}."
    )


def _names(given: Mapping[int | str, Any]) -> list[str]:
    return [str(part) for part, value in given.items() if isinstance(value, Tensor)]


def _with_part(output: Any, part: int | str, value: Tensor) -> Any:
    """The output with one of its tensors replaced, in a container of the same type."""
    if isinstance(output, Mapping):
        changed: Any = copy.copy(output)
        changed[part] = value
        return changed
    values = [value if i == part else other for i, other in enumerate(output)]
    return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)


def _not_once(times: int) -> str:
    if times == 0:
        return (
            "is never called in a forward pass of these data, so it has no tensor to explain. Name a module "
            "that is; the inside of TorchScript and exported programs cannot be reached."
        )
    return (
        f"is called {times} times in a forward pass; a tensor that is explained must be passed once. "
        "Name a module around it, or one that is called once."
    )
