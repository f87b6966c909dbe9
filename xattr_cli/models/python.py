"""Networks from Python code: any importable callable that returns a module."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field, PrivateAttr
from torch import nn

from ..errors import ModelError, suggestion
from ..importing import import_callable, importable_from
from ..registry import MODELS
from .built import BuiltModel

__all__ = ["PythonModel"]


@MODELS.register("python", "torch", "pytorch", "module")
class PythonModel(BuiltModel):
    """The network that a Python callable returns, filled from a checkpoint.

    The callable is found in a file next to the job file, or installed. It may return the network with
    its weights already loaded; then no checkpoint is needed. It runs with the random seed 0, and what
    it prints goes to standard error.
    """

    factory: str = Field(
        description="module:callable that returns a torch.nn.Module",
        examples=["xattr_cli.models.zoo:digits_cnn"],
    )
    kwargs: dict[str, Any] = Field(default={}, description="keyword arguments of the factory")

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Remember the folder of the job file, as paths do."""
        self._folder = Path((context or {}).get("folder", Path.cwd()))

    def build(self) -> nn.Module:
        """Import the factory and call it."""
        # the summary of a run goes to standard output; nothing that a factory says may mix with it
        with contextlib.redirect_stdout(sys.stderr), importable_from(self._folder):
            factory = import_callable(self.factory, self._folder, "model.factory")
            network = self._call(factory)
        if not isinstance(network, nn.Module):
            raise ModelError(
                f"model.factory: {self.factory} returned {type(network).__name__}, but must return a "
                "torch.nn.Module. Name a function that does."
            )
        return network

    def _call(self, factory: Callable[..., Any]) -> Any:
        self._check_arguments(factory)
        try:
            return factory(**self.kwargs)
        except (Exception, SystemExit) as error:
            raise ModelError(
                f"model.factory: {self.factory} failed with kwargs {self.kwargs}: {type(error).__name__}: {error}"
            ) from error

    def _check_arguments(self, factory: Callable[..., Any]) -> None:
        try:
            signature = inspect.signature(factory)
        except (TypeError, ValueError):  # some compiled callables have none
            return
        try:
            signature.bind(**self.kwargs)
        except TypeError as error:
            unknown = [name for name in self.kwargs if name not in signature.parameters]
            hint = suggestion(unknown[0] if unknown else "", signature.parameters)
            raise ModelError(f"model.kwargs: {self.factory}{signature}: {error}.{hint}") from None
