"""Programs of `torch.export`, as `torch.export.save` left them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.node import map_aggregate

from ..errors import ModelError, reported
from ..fingerprint import fingerprint_file
from ..job.config import JobPath
from ..registry import MODELS
from .base import LoadedModel, ModelSource
from .loading.files import archive_kind, check_file
from .loading.pickles import code_in_program, refuse

__all__ = ["ExportedModel", "fixed_batch", "make_portable"]

_OPTION = "model.path"
_WORTHWHILE_BATCH = 32
_UNBOUNDED = 2**31


@MODELS.register("exported", "pt2", "torch_export")
class ExportedModel(ModelSource):
    """A network exported by `torch.export`, with its weights in the same `.pt2` file.

    The file is a program: load only what you would also run. Export it in eval mode, and with a dynamic
    batch axis; a program with a static one is run at the batch size that it was exported with. What the
    export fixed to a device or to the precision of the weights follows the job instead.
    """

    path: JobPath = Field(description="file that torch.export.save wrote")
    trust_pickle: bool = Field(
        default=False, description="let the file unpickle more than tensors; only for files you trust"
    )

    def load(self) -> LoadedModel:
        """Read the program."""
        check_file(self.path, _OPTION)
        kind = archive_kind(self.path)
        if kind != "exported":
            raise ModelError(f"{_OPTION}: {self.path}: is no program of torch.export.{_way_out(kind)}")
        code = code_in_program(self.path)
        if code and not self.trust_pickle:
            raise refuse(self.path, _OPTION, code)
        program = _load(self.path)
        with reported(f"{_OPTION}: {self.path}: holds a program that cannot be used; export it again", ModelError):
            batch = fixed_batch(program)
            module = program.module()
            portable = make_portable(module)
        notes = (*portable, *([] if batch is None else [f"runs in batches of {batch} only"]))
        return LoadedModel(module, fingerprint_file(self.path), notes, batch)


def fixed_batch(program: ExportedProgram) -> int | None:
    """The batch size that a program must be given: a static one, or one within its bounds.

    Returns:
        None if the first axis of every input is dynamic and (practically) unbounded.
    """
    sizes = list(_batch_sizes(program))
    static = [size for size in sizes if isinstance(size, int)]
    if static:
        return static[0]
    ranges = [program.range_constraints.get(size.node.expr) for size in sizes]
    bounds = [(bound.lower, bound.upper) for bound in ranges if bound is not None]
    lower = max((int(low) for low, _ in bounds), default=0)
    upper = min((int(high) for _, high in bounds if high < _UNBOUNDED), default=None)
    if upper is None:
        # a lower bound of 2 is the exporter's own, and not enforced
        return lower if lower > 2 else None
    return min(upper, max(lower, _WORTHWHILE_BATCH))


def _batch_sizes(program: ExportedProgram) -> Iterator[Any]:
    inputs = program.graph_signature.user_inputs
    for node in program.graph.nodes:
        value = node.meta.get("val") if node.name in inputs else None
        if isinstance(value, torch.Tensor) and value.dim() > 0:
            yield value.shape[0]


def _load(path: Path) -> ExportedProgram:
    try:
        # through a file object, which may be called anything; a path would have to end in .pt2
        with path.open("rb") as file, _silenced("torch.export"):
            return torch.export.load(file)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{_OPTION}: {path}: torch {torch.__version__} cannot read this program "
            f"({type(error).__name__}: {reason}). Export it again, with this version."
        ) from error


@contextlib.contextmanager
def _silenced(name: str) -> Iterator[None]:
    """Keep tracebacks out of the log that become one message here."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


def _way_out(kind: str | None) -> str:
    if kind == "checkpoint":
        return " It holds weights alone: load it as the checkpoint of kind: python or torchvision."
    return " Load it with kind: torchscript." if kind == "torchscript" else ""


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
