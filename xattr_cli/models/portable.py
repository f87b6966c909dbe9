"""Exported programs freed of the device and the precision that they were exported on."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

__all__ = ["make_portable"]

_ASSERTION = torch.ops.aten._assert_tensor_metadata.default


def make_portable(program: fx.GraphModule) -> tuple[str, ...]:
    """Let a program's constants for device and precision follow its weights; changed in place.

    `torch.export` writes `zeros(..., dtype=float32, device="cpu")` for the initial state of an LSTM, and
    asserts dtypes and devices: the program would run nowhere else.

    Returns:
        What was changed, for `LoadedModel.notes`.
    """
    graph = program.graph
    anchor = next((node for node in graph.nodes if _is_float(program, node)), None)
    if anchor is None:
        return ()
    users = [node for node in graph.nodes if _is_bound(node, _dtype(program, anchor))]
    if not users:
        return ()
    with graph.inserting_after(anchor):
        device = graph.call_function(getattr, (anchor, "device"))
        dtype = graph.call_function(getattr, (anchor, "dtype"))
    follow = partial(_follow, dtype=_dtype(program, anchor), with_device=device, with_dtype=dtype)
    for node in users:
        if node.target is _ASSERTION:
            graph.erase_node(node)
            continue
        node.args = map_aggregate(node.args, follow)
        node.kwargs = map_aggregate(node.kwargs, follow)
    program.recompile()
    return ("device and precision in the program's operations follow the job",)


def _is_float(program: fx.GraphModule, node: fx.Node) -> bool:
    value = _value(program, node)
    return isinstance(value, Tensor) and value.is_floating_point()


def _value(program: fx.GraphModule, node: fx.Node) -> Any:
    if node.op != "get_attr":
        return node.meta.get("val") if node.op == "placeholder" else None
    value: Any = program
    for name in str(node.target).split("."):
        value = getattr(value, name)
    return value


def _dtype(program: fx.GraphModule, node: fx.Node) -> torch.dtype:
    return _value(program, node).dtype  # type: ignore[no-any-return]


def _is_bound(node: fx.Node, dtype: torch.dtype) -> bool:
    """Whether an operation names a device or the precision of the weights."""
    found: list[Any] = []
    map_aggregate((node.args, node.kwargs), found.append)
    return any(isinstance(value, torch.device) or value is dtype for value in found)


def _follow(value: Any, *, dtype: torch.dtype, with_device: fx.Node, with_dtype: fx.Node) -> Any:
    if isinstance(value, torch.device):
        return with_device
    return with_dtype if value is dtype else value
