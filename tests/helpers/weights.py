"""Weights of the small networks that tests read: trained once, committed, remade by `make test-networks`.

A network trained in a test is another one on another processor, and so is all that a test says about it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from safetensors.torch import load_file
from torch import nn

FOLDER = Path(__file__).parent / "trained"

Network = TypeVar("Network", bound=nn.Module)


def with_weights(module: Network, name: str) -> Network:
    """The module with the weights of `tests/helpers/trained/NAME.safetensors`, in eval mode and frozen."""
    module.load_state_dict(load_file(FOLDER / f"{name}.safetensors"))
    return module.eval().requires_grad_(False)
