"""A small network with every sort of state, and files of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xattr_cli.errors import ExitCode, ModelError
from xattr_cli.job.config import resolve_plugin
from xattr_cli.models import ModelSource
from xattr_cli.registry import MODELS

FACTORY = "helpers.models:small"


class Small(nn.Module):
    """(n, 3) to (n, 2), with batch norm, dropout, an in-place ReLU, a shared weight and a plain tensor."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.act = nn.ReLU(inplace=True)
        self.square = nn.Linear(4, 4)
        self.again = nn.Linear(4, 4)
        self.again.weight = self.square.weight
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(4, classes)
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.shift = torch.tensor([0.5])

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        h = self.act(self.norm(self.first(x)))
        return self.last(self.drop(self.again(self.square(h)) + self.shift))


def small(classes: int = 2) -> Small:
    """A network whose buffers are not those of a fresh one."""
    network = Small(classes)
    network.norm.running_mean.fill_(0.25)
    return network


def points(n: int = 5) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(1))


def outputs(network: nn.Module, x: Tensor | None = None) -> Tensor:
    network.eval()
    with torch.no_grad():
        return network(points() if x is None else x)


def source(folder: Path, kind: str = "python", **options: Any) -> ModelSource:
    """A model source as a job file in `folder` would give it."""
    if kind == "python":
        options = {"factory": FACTORY, **options}
    found = resolve_plugin(MODELS, {"kind": kind, **options}, {"folder": folder})
    assert isinstance(found, ModelSource)
    return found


def fails(folder: Path, *texts: str, error: type = ModelError, **options: Any) -> str:
    """Loading fails as a fault of the job, with a message that has every text; returns the message."""
    with pytest.raises(error) as caught:
        source(folder, **options).load()
    assert caught.value.exit_code == ExitCode.USAGE
    message = str(caught.value)
    for text in texts:
        assert text in message, message
    return message


class Tripwire:
    """Opens a file for writing when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")
