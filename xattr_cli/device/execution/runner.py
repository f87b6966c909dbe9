"""How a network is run: its memory format, folding, arithmetic and compilation, none of which may change a map."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch._functorch.config as functorch
from torch import Tensor, nn

from .folding import folded
from .rounding import rounded_products

__all__ = ["Arithmetic", "Execution", "Runner"]

Arithmetic = Literal["float32", "tf32", "float16", "bfloat16"]

# four shapes of full and shorter calls, with gradients and without, and those of trials; torch would stop at 8
COMPILED_SHAPES = 16
_AUTOCAST = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Execution:
    """One way to run a network.

    Attributes:
        channels_last: images lie with their channels last in memory.
        folded: batch normalisations are folded into the convolutions before them.
        arithmetic: of matrix products and convolutions; sums over nodes stay in the precision of the job.
        compiled: by torch.compile; on CUDA with graphs, which spare small networks the launch of every kernel.
    """

    channels_last: bool = False
    folded: bool = False
    arithmetic: Arithmetic = "float32"
    compiled: bool = False

    def __str__(self) -> str:
        words = [self.arithmetic, "channels last" if self.channels_last else ""]
        words += ["folded batch norm" if self.folded else "", "compiled" if self.compiled else ""]
        return ", ".join(word for word in words if word)


class Runner:
    """A network, run in one way.

    Arguments:
        module: frozen; it is not changed: folding, at the first call, and compiling make others of it.
        how: to run it.
        constants: further keyword arguments of every call.
    """

    def __init__(
        self, module: nn.Module, how: Execution = Execution(), constants: Mapping[str, Any] | None = None
    ) -> None:
        self.how = how
        self._constants = dict(constants or {})
        self._original = module
        self._made: Any = module if how == Execution() else None
        self._depth = 0

    def _module(self, tensors: tuple[Tensor, ...]) -> Any:
        if self._made is None:
            self._made = folded(self._original, tensors) if self.how.folded else self._original
            if self.how.compiled:
                mode = "reduce-overhead" if self._records_graphs(tensors) else "default"
                self._made = torch.compile(self._made, dynamic=False, mode=mode)
        return self._made

    def __call__(self, *tensors: Tensor) -> Any:
        """The outputs.

        Raises:
            RuntimeError: it cannot be folded; other errors of torch if it cannot be compiled.
        """
        if self.how.channels_last:
            tensors = tuple(_channels_last(tensor) for tensor in tensors)
        if self._records_graphs(tensors):
            return _kept(self._call(*_begun(tensors)))
        return self._call(*tensors)

    def _records_graphs(self, tensors: tuple[Tensor, ...]) -> bool:
        return self.how.compiled and tensors[0].device.type == "cuda"

    def _call(self, *tensors: Tensor) -> Any:
        module = self._module(tensors)
        dtype = _AUTOCAST.get(self.how.arithmetic)
        if dtype is None:
            return module(*tensors, **self._constants)
        with torch.autocast(tensors[0].device.type, dtype=dtype):
            return _widened(module(*tensors, **self._constants))

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """float32 means float32: TF32 is off unless it is the arithmetic of choice. May be opened again inside."""
        with ExitStack() as stack:
            if self._depth == 0:  # turning all the switches takes as long as a small network
                stack.enter_context(rounded_products(self.how.arithmetic == "tf32"))
                stack.enter_context(_compiling() if self.how.compiled else nullcontext())
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1


@contextmanager
def _compiling() -> Iterator[None]:
    """As networks are compiled here: several backward passes may follow one forward pass."""
    shapes = torch._dynamo.config.patch(recompile_limit=COMPILED_SHAPES)
    with functorch.patch(donated_buffer=False), shapes, warnings.catch_warnings():
        # advice of the compiler: that TF32 is off is meant, and inputs are no leaves since they are copies
        warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores")
        warnings.filterwarnings("ignore", message=r"The \.grad attribute of a Tensor that is not a leaf")
        yield


def _begun(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The inputs of a call of CUDA graphs; their gradients are copied before a later call overwrites them."""
    torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
    for tensor in tensors:
        if tensor.requires_grad:
            tensor.register_hook(torch.clone)  # type: ignore[no-untyped-call]
    # the compiler gets tensors without hooks
    return tuple(tensor.view_as(tensor) for tensor in tensors)


def _kept(output: Any) -> Any:
    """A copy: the memory of the output belongs to the graph."""
    return output.clone() if isinstance(output, Tensor) else output


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _widened(output: Any) -> Any:
    return output.float() if isinstance(output, Tensor) and output.is_floating_point() else output
