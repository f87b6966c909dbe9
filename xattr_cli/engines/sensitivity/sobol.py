"""Sobol' indices and Shapley effects of the network under independent inputs (Sobol' 1993, Owen 2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...registry import ENGINES
from ..base import Effects
from .options import SobolOptions

if TYPE_CHECKING:
    from ..population import Population

__all__ = ["SobolIndices"]


@ENGINES.register("sobol")
class SobolIndices(SobolOptions):
    """Sobol' indices of the network's output: first-order, total, closed second-order, and Shapley effects.

    Every input is drawn by itself, from the data or from a given distribution. With v(S) = Var(E[f | x_S])
    over Var(f): `first_order` is v({j}), what input j explains alone; `total` is 1 − v(all but j), what would be
    missing without it; `second_order` is v({i, j}), which less both first-order indices is their interaction;
    `shapley` is the mean of v(S ∪ j) − v(S) over all orders, lies between first-order and total index, and sums
    to 1. Every index has a standard error and a 95 % interval. Dependence among the inputs is not seen; see
    `icc` for that.

    Reference: Sobol' 1993; Saltelli 2002; Owen 2014, "Sobol' indices and Shapley value".
    """

    def check(self, population: Population) -> None:
        from .study import ContributionStudies

        ContributionStudies(population).check_independent(self)

    def expected_evaluations(self, population: Population) -> int:
        from .study import ContributionStudies

        return ContributionStudies(population).expected_independent(self)

    def study(self, population: Population) -> Effects:
        from .study import ContributionStudies

        return ContributionStudies(population).independent(self)
