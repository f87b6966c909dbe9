"""TorchScript programs, as `torch.jit.save` left them."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from pydantic import Field
from torch import nn

from ..errors import ModelError, reported
from ..fingerprint import fingerprint_file
from ..job.config import JobPath
from ..registry import MODELS
from .base import LoadedModel, ModelSource
from .loading.files import archive_kind, check_file

__all__ = ["TorchScriptModel"]

_OPTION = "model.path"


@MODELS.register("torchscript", "jit", "torch_jit")
class TorchScriptModel(ModelSource):
    """A network scripted or traced by `torch.jit`, with its weights in the same file.

    The file is a program: load only what you would also run. A traced program keeps the device names
    that it was traced with.
    """

    path: JobPath = Field(description="file that torch.jit.save wrote")

    def load(self) -> LoadedModel:
        """Read the program."""
        check_file(self.path, _OPTION)
        kind = archive_kind(self.path)
        if kind != "torchscript":
            raise ModelError(f"{_OPTION}: {self.path}: is no TorchScript program.{_way_out(kind)}")
        with reported(f"{_OPTION}: {self.path}: cannot be read as TorchScript", ModelError):
            module = _load(self.path)
        return LoadedModel(module, fingerprint_file(self.path))


def _load(path: Path) -> nn.Module:
    with warnings.catch_warnings():
        # torch announces the retirement of TorchScript on every call; the user has the file already
        warnings.filterwarnings("ignore", message=r".*torch\.jit", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=r".*torch\.jit", category=FutureWarning)
        return torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-any-return,no-untyped-call]


def _way_out(kind: str | None) -> str:
    if kind == "checkpoint":
        return " It holds weights alone: load it as the checkpoint of kind: python or torchvision."
    return " Load it with kind: exported." if kind == "exported" else ""
