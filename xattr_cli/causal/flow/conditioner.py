"""The network that tells every mechanism its parameters, masked so that each sees its own parents only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import JobError
from ...importing import import_optional

__all__ = ["Conditioner", "import_zuko"]

REACH = 4.0
"""Features are clamped to ±REACH before the network: beyond the data only linear parts go on."""


def import_zuko() -> Any:
    """The package zuko.

    Raises:
        JobError: it is not installed.
    """
    needed_by, install = "fitting or reading a flow", "xattr-cli[icc]"
    for part in ("zuko.nn", "zuko.transforms"):
        import_optional(part, needed_by=needed_by, install=install, error=JobError)
    return import_optional("zuko", needed_by=needed_by, install=install, error=JobError)


class Conditioner(nn.Module):
    """Parameters of mechanisms from features: a bias, and zuko's masked network where there are parents.

    Arguments:
        adjacency: (outputs, features) bool, which features each parameter depends on; row = child.
        hidden: units per hidden layer.
        gain: (outputs,) factors of the network's part.
    """

    def __init__(self, adjacency: Tensor, hidden: Sequence[int], gain: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(len(adjacency)))
        self.register_buffer("gain", gain)
        self.gain: Tensor
        self.network: Any = None
        if adjacency.any():
            self.network = import_zuko().nn.MaskedMLP(adjacency, hidden, activation=nn.SiLU)
            self.network[-1].bias.requires_grad_(False)  # self.bias has that part
        self.reset()

    def reset(self) -> None:
        """All parameters 0, whatever the features."""
        nn.init.zeros_(self.bias)
        if self.network is not None:
            nn.init.zeros_(self.network[-1].weight)
            nn.init.zeros_(self.network[-1].bias)

    def forward(self, features: Tensor) -> Tensor:
        """(n, outputs) all parameters, given features (n, features)."""
        if self.network is None:
            return self.bias.expand(len(features), -1)
        parameters: Tensor = self.network(features.clamp(-REACH, REACH)) * self.gain + self.bias
        return parameters

    def some(self, features: Tensor, outputs: Tensor) -> Tensor:
        """(n, len(outputs)) the parameters numbered `outputs`, through the units that these need only."""
        bias = self.bias[outputs]
        if self.network is None:
            return bias.expand(len(features), -1)
        needed, parts = outputs, []
        for layer in list(self.network)[::-2]:  # between the linear layers stand activations
            used = layer.mask[needed].any(dim=0).nonzero()[:, 0]
            parts.append(((layer.weight * layer.mask)[needed][:, used], layer.bias[needed]))
            needed = used
        values = features[:, needed].clamp(-REACH, REACH)
        for number, (weight, offset) in enumerate(reversed(parts)):
            inner = nn.functional.silu(values) if number else values
            values = nn.functional.linear(inner, weight, offset)
        return values * self.gain[outputs] + bias
