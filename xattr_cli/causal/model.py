"""What estimators need of a causal model: independent noise in, inputs of the network out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .graph.graph import Graph

__all__ = ["CausalModel", "EmpiricalMarginals", "GraphModel", "in_float64"]


class CausalModel(Protocol):
    """A map x = F(u) from independent standard normal noise to rows of inputs.

    F is triangular: the noise of a node moves that node and its descendants in the graph, nothing else.
    """

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes, in the order of their columns."""

    @property
    def noise_dims(self) -> tuple[int, ...]:
        """Per node, how many noise coordinates it has; they stand in the order of the nodes."""

    @property
    def parents(self) -> tuple[tuple[int, ...], ...]:
        """Per node, the positions of its direct causes."""

    @property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """Per node, its columns in a row."""

    @property
    def causal(self) -> bool:
        """Whether anything said what causes what; else the nodes are taken as independent."""

    def inputs(self, noise: Tensor) -> Tensor:
        """(n, D) inputs of the network, in the dtype and on the device of the noise.

        Arguments:
            noise: (n, sum of `noise_dims`) independent standard normal.
        """


@dataclass(frozen=True)
class GraphModel:
    """The part of a causal model that its graph tells, with one noise coordinate per node."""

    graph: Graph

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return self.graph.nodes

    @property
    def parents(self) -> tuple[tuple[int, ...], ...]:
        """Direct causes per node."""
        return self.graph.parents

    @property
    def columns(self) -> tuple[tuple[int, ...], ...]:
        """Columns per node."""
        return self.graph.columns

    @property
    def noise_dims(self) -> tuple[int, ...]:
        """One noise coordinate per node."""
        return (1,) * len(self.graph)

    @property
    def causal(self) -> bool:
        """Somebody said what causes what."""
        return True


def in_float64(noise: Tensor) -> Tensor:
    """(n, noise) the noise in float64, where it is, or on the CPU if its device has none (as Apple's)."""
    return noise.to(torch.device("cpu") if noise.device.type == "mps" else noise.device).double()


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
