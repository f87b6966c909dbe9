"""Two draws, and each of them with one node at a time from the other: second-order indices of many nodes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["PairDesign"]


@dataclass(frozen=True)
class PairDesign:
    """A = U, B = V, A with node i from V, and B with node i from U, for every i.

    Reference: Saltelli 2002, "Making best use of model evaluations to compute sensitivity indices", theorem 2.

    Attributes:
        nodes: d.
    """

    nodes: int

    @property
    def points(self) -> int:
        """2d + 2."""
        return 2 * self.nodes + 2

    def takes_v(self, draws: slice, points: slice) -> Tensor:
        """(1, points, nodes) bool, whose noise comes from V."""
        nothing = torch.zeros(1, self.nodes, dtype=torch.bool)
        one = torch.eye(self.nodes, dtype=torch.bool)
        return torch.cat([nothing, one, ~nothing, ~one])[None, points]

    def pairs(self, outputs: Tensor) -> dict[str, Tensor]:
        """Closed second-order indices, v({i, j}), and the variance that they are shares of.

        With a_i = A − A_i and b_i = B − B_i, the products −(a_j − a_i)(b_j − b_i) / 2 have the mean v({i, j}), and
        −a_i b_i / 2 have v({i}).

        Arguments:
            outputs: (draws, 2d + 2, targets).

        Returns:
            sums over the draws: (nodes, nodes, targets), on the diagonal v({i}); and the variance (targets,).
        """
        one, other = outputs.chunk(2, dim=1)
        a, b = one[:, :1] - one[:, 1:], other[:, :1] - other[:, 1:]
        products = torch.einsum("nit,njt->ijt", a, b)
        single = -torch.einsum("iit->it", products) / 2
        closed = single[:, None] + single + (products + products.transpose(0, 1)) / 2
        torch.einsum("iit->it", closed).copy_(single)
        return {"second_order": closed, "pair_variance": (one - other).square().mean(dim=1).sum(dim=0) / 2}
