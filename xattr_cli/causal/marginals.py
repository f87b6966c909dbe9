"""Independent inputs: every column from its own empirical distribution, none causing another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .graph.graph import Graph
from .model import GraphModel, in_float64

__all__ = ["EmpiricalMarginals"]


@dataclass(frozen=True)
class EmpiricalMarginals(GraphModel):
    """x_j = F_j⁻¹(Φ(u_j)) with F_j the distribution of column j in the data: a causal model without arrows.

    Values are always some of the data's, so that integers stay integers and codes stay codes.

    Attributes:
        graph: nodes without edges, each of one column.
        quantiles: (D, n) every column of the data, sorted.
    """

    quantiles: Tensor

    @classmethod
    def of(cls, columns: np.ndarray, names: Sequence[str]) -> EmpiricalMarginals:
        """The marginals of data rows (n, D)."""
        quantiles = np.sort(columns.T.astype(np.float64), axis=1)
        return cls(Graph.independent(names), torch.from_numpy(quantiles))

    @property
    def causal(self) -> bool:
        """Nobody said what causes what."""
        return False

    def inputs(self, noise: Tensor) -> Tensor:
        """(n, D) draws of the columns from (n, D) standard normal noise."""
        count = self.quantiles.shape[1]
        rank = (torch.special.ndtr(in_float64(noise)) * count).long().clamp(max=count - 1)
        quantiles = self.quantiles.to(rank.device)
        return quantiles.gather(1, rank.T).T.to(dtype=noise.dtype).to(noise.device)
