"""A network lent out in eval mode, on another device, and handed back as it was."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["frozen"]


@contextmanager
def frozen(
    module: nn.Module, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> Iterator[nn.Module]:
    """Lend out a network for attribution.

    Inside, the module is in eval mode, its parameters want no gradient, and every parameter, buffer and
    plain tensor attribute is on `device`, the floating-point ones in `dtype`. Afterwards, also after an
    exception, everything is as it was found, bit by bit: modes, `requires_grad`, `.grad`, device, dtype,
    buffers, hooks. Weights are converted into copies, never to and fro.

    Arguments:
        module: of any kind; a TorchScript module or an exported program too.
        device: where to compute.
        dtype: floating-point precision of the computation; None leaves the weights' own.

    Yields:
        The same module.

    Example:
        >>> network = nn.Linear(2, 1)
        >>> with frozen(network, dtype=torch.float64) as lent:
        ...     print(lent.weight.dtype, lent.weight.requires_grad, lent.training)
        torch.float64 False False
        >>> print(network.weight.dtype, network.weight.requires_grad, network.training)
        torch.float32 True True
    """
    parameters = [_Parameter.of(parameter) for parameter in module.parameters()]
    submodules = [_Submodule.of(submodule) for submodule in module.modules()]
    try:
        _to_eval(module)
        convert = _Conversion(torch.device(device), dtype)
        for parameter in parameters:
            parameter.lend(convert)
        for submodule in submodules:
            submodule.lend(convert)
        yield module
    finally:
        for submodule in submodules:
            submodule.restore()
        for parameter in parameters:
            parameter.restore()


def _to_eval(module: nn.Module) -> None:
    try:
        module.eval()
    except NotImplementedError:  # an exported program has its mode inside, and refuses to change it
        for submodule in module.modules():
            submodule.training = False


class _Conversion:
    """Tensors on the device of the computation; a tensor that is shared stays shared."""

    def __init__(self, device: torch.device, dtype: torch.dtype | None) -> None:
        self.device = device
        self.dtype = dtype
        self._made: dict[int, Tensor] = {}

    def weight(self, tensor: Tensor) -> Tensor:
        """The tensor itself where nothing changes: nobody writes to weights in eval mode."""
        return tensor.detach().to(device=self.device, dtype=self._dtype_of(tensor))

    def state(self, tensor: Tensor) -> Tensor:
        """Always a copy: a forward pass may write to a buffer."""
        if id(tensor) not in self._made:
            self._made[id(tensor)] = tensor.detach().to(
                device=self.device, dtype=self._dtype_of(tensor), copy=True
            )
        return self._made[id(tensor)]

    def _dtype_of(self, tensor: Tensor) -> torch.dtype:
        if self.dtype is None:
            return tensor.dtype
        if tensor.is_complex():
            return self.dtype.to_complex()
        return self.dtype if tensor.is_floating_point() else tensor.dtype


@dataclass(frozen=True)
class _Parameter:
    """A parameter as it was found."""

    parameter: nn.Parameter
    data: Tensor
    grad: Tensor | None
    requires_grad: bool

    @classmethod
    def of(cls, parameter: nn.Parameter) -> _Parameter:
        return cls(parameter, parameter.data, parameter.grad, parameter.requires_grad)

    def lend(self, convert: _Conversion) -> None:
        self.parameter.grad = None
        self.parameter.requires_grad_(False)
        self.parameter.data = convert.weight(self.data)

    def restore(self) -> None:
        self.parameter.data = self.data
        self.parameter.requires_grad_(self.requires_grad)
        self.parameter.grad = self.grad


@dataclass(frozen=True)
class _Submodule:
    """What a submodule holds besides parameters, as it was found."""

    module: nn.Module
    training: bool
    buffers: dict[str, Tensor | None]
    tensors: dict[str, Tensor]
    hooks: dict[str, dict[Any, Any]]

    @classmethod
    def of(cls, module: nn.Module) -> _Submodule:
        own = vars(module).items()
        tensors = {name: value for name, value in own if isinstance(value, Tensor)}
        hooks = {name: dict(value) for name, value in own if "_hooks" in name and isinstance(value, dict)}
        return cls(module, module.training, dict(module._buffers), tensors, hooks)

    def lend(self, convert: _Conversion) -> None:
        for name, buffer in self.buffers.items():
            if buffer is not None:
                self.module._buffers[name] = convert.state(buffer)
        for name, tensor in self.tensors.items():
            vars(self.module)[name] = convert.state(tensor)
        if isinstance(self.module, nn.RNNBase):
            self.module.flatten_parameters()  # cuDNN warns, and is slower, if its weights lie scattered

    def restore(self) -> None:
        self.module.training = self.training
        _refill(self.module._buffers, self.buffers)
        vars(self.module).update(self.tensors)
        for name, hooks in self.hooks.items():
            _refill(vars(self.module)[name], hooks)


def _refill(mapping: MutableMapping[Any, Any], content: dict[Any, Any]) -> None:
    """In place: handles of hooks and compiled submodules hold on to the mapping itself."""
    for name in set(mapping.keys()) - set(content):
        del mapping[name]
    for name, value in content.items():
        mapping[name] = value
