"""The full factorial of two draws: every subset of nodes takes its noise from V, the others from U.

All 2^d points of a draw are evaluated, and every pair of them that shares a set S of nodes is used for v(S),
not only the pairs with one end at U: a Walsh transform finds all those products at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .shapley import memberships, subset_sizes, walsh_hadamard

__all__ = ["FullFactorial", "PairDesign", "worths"]


@dataclass(frozen=True)
class FullFactorial:
    """Every subset of the nodes, by its number; see `subsets`.

    Attributes:
        nodes: d.

    Example:
        >>> FullFactorial(3).points
        8
        >>> FullFactorial(2).members.int().tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1]]
    """

    nodes: int

    @property
    def points(self) -> int:
        """2^d."""
        return 1 << self.nodes

    @cached_property
    def members(self) -> Tensor:
        """(2^d, d) bool."""
        return memberships(self.nodes)

    def takes_v(self, draws: slice, points: slice) -> Tensor:
        """(1, points, nodes) bool, whose noise comes from V."""
        return self.members[None, points]

    def energies(self, outputs: Tensor) -> Tensor:
        """(2^d, targets) Σ over draws of the squared coefficients of the factorial's Walsh expansion.

        Arguments:
            outputs: (draws, 2^d, targets).
        """
        coefficients = walsh_hadamard(outputs.transpose(0, 1).contiguous()) / self.points
        return coefficients.square_().sum(dim=1)


def worths(energies: Tensor) -> Tensor:
    """(2^d, ...) v(S) for every subset S, from mean squared coefficients c_T of the factorial.

    The mean over all pairs of points that differ on T's complement is Σ_T ± c_T²; less the mean over all
    pairs without a common node, which estimates the squared mean, it is

        v(S) = 2 Σ (−1)^(|T| + 1) c_T² over the T with |T ∩ S| odd.

    So v(∅) is 0, v(all) is an unbiased variance, a shift of the outputs changes nothing, and nodes without
    influence get differences that are exactly 0; Shapley values are sums of squares, Σ 2 c_T² / |T| over the
    T of odd size that hold the node, and cannot be negative. `make bench-icc` compares the error with the
    estimators of Janon and Jansen.

    Example:
        >>> worths(torch.tensor([9.0, 0.5, 0.0, 0.0])).tolist()  # the first of two nodes has variance 1
        [0.0, 1.0, 0.0, 1.0]
    """
    count = len(energies).bit_length() - 1
    signs = 1 - 2 * (subset_sizes(count) % 2).to(energies)
    signs[0] = 0  # c_∅² cancels, but may be so large that it would drown the others
    products = walsh_hadamard(energies * signs.view(-1, *[1] * (energies.ndim - 1)))
    # the transform over S of −(−1)^|T| c_T² (1 − (−1)^|T ∩ S|)
    worth: Tensor = products - products[:1]
    return worth


@dataclass(frozen=True)
class PairDesign:
    """A = U, B = V, A with node i from V, and B with node i from U, for every i.

    Reference: Saltelli 2002, "Making best use of model evaluations to compute sensitivity indices", theorem 2.

    Attributes:
        nodes: d.

    Example:
        >>> PairDesign(2).points
        6
        >>> PairDesign(2).takes_v(slice(0, 1), slice(0, 6)).int()[0].tolist()
        [[0, 0], [1, 0], [0, 1], [1, 1], [0, 1], [1, 0]]
    """

    nodes: int

    @property
    def points(self) -> int:
        """2d + 2."""
        return 2 * self.nodes + 2

    def takes_v(self, draws: slice, points: slice) -> Tensor:
        """(1, points, nodes) bool, whose noise comes from V."""
        nothing = torch.zeros(1, self.nodes, dtype=torch.bool)
        single = torch.eye(self.nodes, dtype=torch.bool)
        return torch.cat([nothing, single, ~nothing, ~single])[None, points]

    def pairs(self, outputs: Tensor) -> dict[str, Tensor]:
        """Closed second-order indices, v({i, j}), and the variance that they are shares of.

        With a_i = A − A_i and b_i = B − B_i, the products −(a_j − a_i)(b_j − b_i) / 2 have the mean v({i, j}), and
        −a_i b_i / 2 have v({i}).

        Arguments:
            outputs: (draws, 2d + 2, targets).

        Returns:
            sums over the draws: (nodes, nodes, targets), on the diagonal v({i}); and the variance (targets,).
        """
        first, second = outputs.chunk(2, dim=1)
        a, b = first[:, :1] - first[:, 1:], second[:, :1] - second[:, 1:]
        products = torch.einsum("nit,njt->ijt", a, b)
        single = -torch.einsum("iit->it", products) / 2
        closed = single[:, None] + single + (products + products.transpose(0, 1)) / 2
        torch.einsum("iit->it", closed).copy_(single)
        return {"second_order": closed, "pair_variance": (first - second).square().mean(dim=1).sum(dim=0) / 2}
