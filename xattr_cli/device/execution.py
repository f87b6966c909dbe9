"""How a network is run: its memory format, folding, arithmetic and compilation, none of which may change a map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .folding import folded

__all__ = ["Arithmetic", "Execution", "Runner"]

Arithmetic = Literal["float32", "tf32", "float16", "bfloat16"]

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
    """

    def __init__(self, module: nn.Module, how: Execution = Execution()) -> None:
        self.how = how
        self._original = module
        self._made: Any = module if how == Execution() else None

    def _module(self, tensors: tuple[Tensor, ...]) -> Any:
        if self._made is None:
            self._made = folded(self._original, tensors) if self.how.folded else self._original
            if self.how.compiled:
                mode = "reduce-overhead" if tensors[0].device.type == "cuda" else "default"
                self._made = torch.compile(self._made, dynamic=False, mode=mode)
        return self._made

    def __call__(self, *tensors: Tensor) -> Any:
        """The outputs.

        Raises:
            RuntimeError: it cannot be folded; other errors of torch if it cannot be compiled.
        """
        if self.how.channels_last:
            tensors = tuple(_channels_last(tensor) for tensor in tensors)
        module = self._module(tensors)
        dtype = _AUTOCAST.get(self.how.arithmetic)
        if dtype is None:
            return module(*tensors)
        with torch.autocast(tensors[0].device.type, dtype=dtype):
            return _widened(module(*tensors))

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """float32 means float32: TF32 is off unless it is the arithmetic of choice."""
        tf32 = self.how.arithmetic == "tf32"
        allowed = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = tf32
        flags = torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=tf32)
        # several backward passes may follow one forward pass
        keeping = torch._functorch.config.patch(donated_buffer=False) if self.how.compiled else nullcontext()
        try:
            with flags, keeping:
                yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = allowed


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _widened(output: Any) -> Any:
    return output.float() if isinstance(output, Tensor) and output.is_floating_point() else output
