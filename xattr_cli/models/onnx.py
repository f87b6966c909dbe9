"""Networks in ONNX files, converted into torch modules by onnx2torch."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import Tensor, nn

from ..errors import ModelError, suggestion
from ..fingerprint import fingerprint_file
from ..importing import import_optional
from ..job.config import JobPath
from ..registry import MODELS
from .base import LoadedModel, ModelSource
from .loading.files import check_file

__all__ = ["OnnxModel"]

_OPTION = "model.path"


@MODELS.register("onnx")
class OnnxModel(ModelSource):
    """A network in an ONNX file, with its weights in the file or beside it.

    Layers go by the names of the file's nodes. A file with a fixed batch axis is run at that batch size.
    """

    path: JobPath = Field(description=".onnx file")
    output: int | str | None = Field(
        default=None, description="which of several outputs is explained, by its name"
    )

    @property
    def part(self) -> None:
        """Nothing: the module returns the one output that was asked for."""
        return None

    def load(self) -> LoadedModel:
        """Read and convert the file.

        Raises:
            ModelError: it is missing, damaged, has an operation that cannot be converted, or several outputs.
        """
        check_file(self.path, _OPTION)
        onnx, onnx2torch = _library("onnx"), _library("onnx2torch")
        program = _read(onnx, self.path)
        initial = {tensor.name for tensor in program.graph.initializer}
        inputs = [value for value in program.graph.input if value.name not in initial]
        outputs = [value.name for value in program.graph.output]
        module = _convert(onnx, onnx2torch, program, self.path)
        if len(outputs) > 1 or self.output is not None:
            module = _Picked(module, self._position(outputs), len(outputs))
        batch = _fixed_batch(inputs)
        names = ", ".join(value.name for value in inputs)
        notes = (f"takes {names}", *([] if batch is None else [f"runs in batches of {batch} only"]))
        return LoadedModel(module.eval(), _fingerprint(onnx, self.path), notes, batch)

    def _position(self, outputs: list[str]) -> int:
        if self.output in outputs:
            return outputs.index(self.output)
        if self.output is None:
            raise ModelError(
                f"model.output: {self.path} has several outputs: {', '.join(outputs)}. Name the one that you mean."
            )
        raise ModelError(f"model.output: {self.output!r}: no such output.{suggestion(self.output, outputs)}")


class _Picked(nn.Module):
    """One of several outputs of a network."""

    def __init__(self, network: nn.Module, position: int, outputs: int) -> None:
        super().__init__()
        self.network = network
        self.position = position
        self.outputs = outputs

    def forward(self, *inputs: Tensor) -> Any:
        found = self.network(*inputs)
        return found[self.position] if self.outputs > 1 else found


def _library(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protobuf and torch about each other's versions
        return import_optional(name, needed_by="model kind 'onnx'", install="xattr-cli[onnx]", error=ModelError)


def _read(onnx: Any, path: Path) -> Any:
    try:
        program = onnx.load(str(path))
        onnx.checker.check_model(program)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{_OPTION}: {path}: cannot be read as ONNX ({type(error).__name__}: {reason})."
        ) from error
    return program


def _fingerprint(onnx: Any, path: Path) -> str:
    """Hash of the file and of those beside it that hold its weights."""
    program = onnx.load(str(path), load_external_data=False)
    entries = (entry for tensor in program.graph.initializer for entry in tensor.external_data)
    beside = sorted({entry.value for entry in entries if entry.key == "location"})
    digests = [fingerprint_file(file) for file in (path, *(path.parent / name for name in beside))]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


class _GlobalMaxPool(nn.Module):
    """The maximum over all positions, which onnx2torch has no module for."""

    def forward(self, values: Tensor) -> Tensor:
        return values.amax(dim=tuple(range(2, values.ndim)), keepdim=True)


def _with_initializers(onnx: Any, program: Any) -> Any:
    """The same with weights of Constant nodes as initializers, where onnx2torch looks for them."""
    graph = program.graph
    constants = [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]
    for node in constants:
        values = onnx.numpy_helper.to_array(node.attribute[0].t)
        graph.initializer.append(onnx.numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)
    return program


def _unsupported(program: Any) -> list[str]:
    """Operators that onnx2torch has no converter for; it gets one for the global maximum here."""
    registry, common = _library("onnx2torch.node_converters.registry"), _library("onnx2torch.utils.common")
    with contextlib.suppress(ValueError):  # it is there already, from another job or a later onnx2torch

        @registry.add_converter(operation_type="GlobalMaxPool", version=1)  # type: ignore[untyped-decorator]
        def _(node: Any, graph: Any) -> Any:
            return common.OperationConverterResult(
                torch_module=_GlobalMaxPool(), onnx_mapping=common.onnx_mapping_from_node(node)
            )

    versions = {imported.domain: imported.version for imported in program.opset_import}
    missing = []
    for node in program.graph.node:
        try:
            registry.get_converter(node.op_type, versions.get(node.domain, 1), node.domain)
        except NotImplementedError:
            missing.append(node.op_type)
    return sorted(set(missing))


def _convert(onnx: Any, onnx2torch: Any, program: Any, path: Path) -> nn.Module:
    unsupported = _unsupported(program)
    if unsupported:
        raise ModelError(
            f"{_OPTION}: {path}: onnx2torch has no {', '.join(unsupported)} to convert these operators with. Load "
            "the network with kind: python from its code, or export it with torch.export and use kind: exported."
        )
    program = _with_initializers(onnx, program)
    try:
        module: nn.Module = onnx2torch.convert(program)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(
            f"{_OPTION}: {path}: onnx2torch cannot convert it ({type(error).__name__}: {reason}). Load the "
            "network with kind: python from its code, or export it with torch.export and use kind: exported."
        ) from error
    return module


def _fixed_batch(inputs: list[Any]) -> int | None:
    """The batch size that the file fixes; None if the first axis of every input is dynamic."""
    for value in inputs:
        dimensions = value.type.tensor_type.shape.dim
        if len(dimensions) and dimensions[0].dim_value > 0:
            return int(dimensions[0].dim_value)
    return None
