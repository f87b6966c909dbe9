"""Intrinsic causal contributions (Saha et al. 2025, after Janzing et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...registry import ENGINES
from ..base import Effects
from .options import IccOptions

if TYPE_CHECKING:
    from ..population import Population

__all__ = ["IntrinsicCausalContributions"]


@ENGINES.register("icc")
class IntrinsicCausalContributions(IccOptions):
    """Intrinsic causal contributions: how much variation of the output each input originates itself.

    The inputs are x = F(u) along a causal graph, u being independent noise of the nodes, and the output is
    y = f(F(u)). With v(S) = Var(E[y | u_S]) / Var(y), the contribution of a node to those before it in an order,
    S, is v(S ∪ j) − v(S). `topological` is its mean over the orders in which causes come before their
    effects, `shapley` over all orders. Both sum to 1. A node that only passes on what its causes do gets
    nothing. Without graph, order and scm the inputs are taken as independent, and the result says
    `causal: false`; then both are the Shapley effects of the Sobol' decomposition. First-order and total
    indices of the noise come along.

    Reference: Saha et al. 2025, CLeaR, arXiv 2505.09660; Janzing et al. 2024, AISTATS, arXiv 2007.00714.
    """

    def check(self, population: Population) -> None:
        from .study import ContributionStudies

        ContributionStudies(population).check_causal(self)

    def expected_evaluations(self, population: Population) -> int:
        from .study import ContributionStudies

        return ContributionStudies(population).expected_causal(self)

    def study(self, population: Population) -> Effects:
        from .study import ContributionStudies

        return ContributionStudies(population).causal(self)
