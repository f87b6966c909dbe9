"""Tensors inside a network that are explained: read where the data pass them, and replaced by points of a path.

An embedding and any other layer are treated alike. The network runs on its true inputs, so that masks,
positions and lengths are those of the sample; where it comes to an explained tensor, it goes on with the point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..errors import ModelError, suggestion
from .padding import pinned
from .parts import named_parts, tensors_of, with_tensor

__all__ = ["ALL", "HookPoint", "passing", "recorded", "replaced", "watched"]

ALL = "all"
"""As the part of a site: every floating tensor that the layer returns or takes."""


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
        part: which of several tensors: a position, or a name, dotted for parts of parts; None if there is only
            one, `ALL` for all of them.
        sequence: padded sequence that the first axis of a sample runs along; empty for none.
        batch_axis: of the tensor, which counts the samples.
    """

    name: str
    layer: str
    module: nn.Module
    key: str
    side: Literal["input", "output"] = "output"
    part: int | str | None = None
    sequence: str = ""
    batch_axis: int = 0


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
        value = values[site.name].to(own.dtype)  # a network in half precision goes on in its own type
        if site.sequence in masks:
            value = pinned(value[:, : own.shape[1]], own, masks[site.sequence])
        if value.shape != own.shape:
            raise ModelError(
                f"{site.key}: {site.layer!r}: the tensor has shape {tuple(own.shape)} in this call and "
                f"{tuple(value.shape)} in others; it can be explained only if its shape is always the same."
            )
        return value

    with passing(sites, put):
        yield


@contextmanager
def watched(sites: Sequence[HookPoint], into: dict[str, dict[str, Tensor]]) -> Iterator[None]:
    """Run a network once inside: every tensor that passes the layer of a site is left in `into`, by its name."""

    def keep(site: HookPoint, value: Any) -> None:
        into[site.name] = tensors_of(value)

    handles = [_look(site, keep) for site in sites]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _look(site: HookPoint, keep: Callable[[HookPoint, Any], None]) -> RemovableHandle:
    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(site, _arguments(args, kwargs))

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        keep(site, output)

    if site.side == "input":
        return site.module.register_forward_pre_hook(before, with_kwargs=True)
    return site.module.register_forward_hook(after)


def _arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**{str(i): arg for i, arg in enumerate(args)}, **kwargs}


def _watch(site: HookPoint, react: React, passed: Counter[str]) -> RemovableHandle:
    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changed = _reacted(_arguments(args, kwargs), site, react, passed)
        return tuple(changed[str(i)] for i in range(len(args))), {name: changed[name] for name in kwargs}

    def after(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> Any:
        return _reacted(output, site, react, passed)

    if site.side == "input":
        return site.module.register_forward_pre_hook(before, with_kwargs=True)
    return site.module.register_forward_hook(after)


def _reacted(value: Any, site: HookPoint, react: React, passed: Counter[str]) -> Any:
    """What a layer takes or returns, with what `react` makes of the tensor of the site in its place."""
    passed[site.name] += 1
    tensors = tensors_of(value)
    if site.part is None and "" in tensors:
        return react(site, value)
    part = _only_tensor(tensors, value, site) if site.part is None else str(site.part)
    own = _tensor(tensors, part, value, site)
    axis = site.batch_axis
    reacted = react(site, own.movedim(axis, 0) if 0 < axis < own.ndim else own)
    return with_tensor(value, part, reacted.movedim(0, axis) if 0 < axis < own.ndim else reacted)


def _only_tensor(tensors: Mapping[str, Tensor], value: Any, site: HookPoint) -> str:
    # of what a layer returns, nothing is chosen for the user unless it is the only thing there
    if len(tensors) == 1 and (site.side == "input" or len(named_parts(value) or ()) == 1):
        return next(iter(tensors))
    raise _several(tensors, site)


def _tensor(tensors: Mapping[str, Tensor], part: str, value: Any, site: HookPoint) -> Tensor:
    if "" in tensors:
        raise ModelError(
            f"{site.key}: {site.layer!r} returns one tensor: explain.part: {site.part!r} has no meaning."
        )
    if part in tensors:
        found = tensors[part]
        if not found.is_floating_point():
            raise ModelError(
                f"{site.key}: {site.layer!r} {_verb(site)} {str(found.dtype).removeprefix('torch.')} there, which "
                "has no gradient. Explain what comes out of it: side: output."
            )
        return found
    parts = named_parts(value)
    if parts is None:
        raise ModelError(f"{site.key}: {site.layer!r} returns a {type(value).__name__}: it has no parts.")
    if part in parts:
        raise ModelError(
            f"{site.key}: {site.layer!r} {_verb(site)} a {type(parts[part]).__name__} there, not a tensor."
        )
    raise ModelError(
        f"explain.part: {site.part!r}: {site.layer!r} {_verb(site)} no such tensor.{suggestion(part, tensors)}"
    )


def _several(tensors: Mapping[str, Tensor], site: HookPoint) -> ModelError:
    if not tensors:
        return ModelError(f"{site.key}: {site.layer!r} {_verb(site)} no tensor.")
    return ModelError(
        f"{site.key}: {site.layer!r} {_verb(site)} several values (tensors: {', '.join(tensors)}); choose one, "
        f"such as explain: {{layer: {site.layer}, side: {site.side}, part: {next(iter(tensors))}}}, or part: all, "
        "which explains all of them on one path."
    )


def _verb(site: HookPoint) -> str:
    return "takes" if site.side == "input" else "returns"


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
