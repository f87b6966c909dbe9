"""Which layer of a network is running, followed from call to call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

__all__ = ["RunningLayer"]


class RunningLayer:
    """Follows the layers of a network through a forward pass; no module is touched for it.

    Arguments:
        network: its submodules are called by their dotted names, itself by "".
    """

    def __init__(self, network: nn.Module) -> None:
        self._names = {id(part): name for name, part in network.named_modules()}
        self._running: list[str] = []

    @property
    def name(self) -> str:
        """Dotted name of the innermost layer that is running; "" for the network itself."""
        return self._running[-1] if self._running else ""

    @contextmanager
    def followed(self, left: Callable[[object], None] = lambda _output: None) -> Iterator[None]:
        """While open, the layers that run are known.

        Arguments:
            left: called with what each layer returns, while it is still the running one.
        """

        def enter(module: nn.Module, _args: Any) -> None:
            self._running.append(self._names.get(id(module), self.name))

        def leave(_module: nn.Module, _args: Any, output: Any) -> None:
            left(output)
            self._running.pop()

        handles = [
            register_module_forward_pre_hook(enter),
            register_module_forward_hook(leave, always_call=True),
        ]
        try:
            with warnings.catch_warnings():
                # a compiled module is entered twice, and is the same layer both times
                warnings.filterwarnings("ignore", message=r".*global hooks on modules")
                yield
        finally:
            for handle in handles:
                handle.remove()
            self._running.clear()
