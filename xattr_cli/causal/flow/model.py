"""A causal model whose noise comes from a fitted flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..model import GraphModel, in_float64
from .encoding import Encoding
from .mechanisms import Mechanisms

__all__ = ["FlowModel"]

CALL_NUMBERS = 2**23
"""Parameters of mechanisms that exist at once; 64 MiB of them."""


@dataclass(frozen=True)
class FlowModel(GraphModel):
    """Rows from noise, and noise from rows, through fitted mechanisms.

    Attributes:
        graph: that of the mechanisms.
        mechanisms: in float64.
    """

    mechanisms: Mechanisms

    @classmethod
    def of(cls, mechanisms: Mechanisms) -> FlowModel:
        """The model of fitted mechanisms."""
        return cls(mechanisms.encoding.graph, mechanisms)

    @property
    def encoding(self) -> Encoding:
        """Columns as units."""
        return self.mechanisms.encoding

    @property
    def noise_dims(self) -> tuple[int, ...]:
        """Units per node."""
        return self.encoding.noise_dims

    @torch.no_grad()
    def inputs(self, noise: Tensor) -> Tensor:
        """(n, D) inputs from (n, units) noise, some rows at a time."""
        exact = in_float64(noise)
        mechanisms = self.mechanisms.to(exact.device)
        parts = [mechanisms.inputs(part) for part in torch.split(exact, self._rows_per_call)]
        return torch.cat(parts).to(dtype=noise.dtype).to(noise.device)

    @torch.no_grad()
    def noise(self, rows: Tensor, seed: int) -> Tensor:
        """(n, units) float64 noise of rows (n, D); what integers and categories leave open is drawn."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for part in torch.split(rows.double().cpu(), self._rows_per_call):
            targets = self.encoding.targets(part, generator)
            uniform = torch.rand(targets.numbers.shape, generator=generator, dtype=torch.float64)
            parts.append(self.mechanisms.cpu().noise(targets, self.encoding.feature_rows(part), uniform))
        return torch.cat(parts)

    @torch.no_grad()
    def log_likelihood(self, rows: Tensor, seed: int) -> np.ndarray:
        """(n,) log-likelihood of rows (n, D), columns standardised; draws the noise of integers."""
        generator = torch.Generator().manual_seed(seed)
        likelihoods = []
        for part in torch.split(rows.double().cpu(), self._rows_per_call):
            targets = self.encoding.targets(part, generator)
            logs = self.mechanisms.cpu().log_likelihood(targets, self.encoding.feature_rows(part))
            likelihoods.append(logs.sum(dim=1))
        return torch.cat(likelihoods).numpy()

    @property
    def _rows_per_call(self) -> int:
        outputs = len(self.mechanisms.conditioner.bias)
        return max(1, CALL_NUMBERS // outputs)
