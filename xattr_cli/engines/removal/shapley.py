"""Shapley values of features as players: exact of few groups, from random orders of many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...errors import JobError
from ...registry import ENGINES
from ..base import Explanation
from .options import RemovalEngine

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["ShapleyValues"]


@ENGINES.register(
    "shapley",
    "shap",
    "kernel_shap",
    "kernel_explainer",
    "permutation_explainer",
    "sampling_explainer",
    "shapley_value_sampling",
    "shapley_values",
)
class ShapleyValues(RemovalEngine):
    """Shapley values, the mean gain of the score over all orders in which groups join the baseline.

    They sum to f(x) − f(x'), need no gradient, and share what groups do together equally. Up to `exact_up_to`
    groups, all subsets are evaluated; of more, random orders, each with its reverse, until the standard errors, at
    their 95th percentile, are at most `rtol` of the values. Features of a group get equal shares; `group_effect`
    has each value, `standard_error` its error. Orders belong to the sample: no row depends on its batch.

    Reference: Shapley 1953; Štrumbelj, Kononenko 2014, doi 10.1007/s10115-013-0679-x.
    """

    rtol: float = Field(
        default=0.05, gt=0, lt=1, description="relative L2 error of the values at which a row stops"
    )
    max_evaluations: int = Field(default=16384, ge=64, description="most scores per row; then it is not converged")
    exact_up_to: int = Field(default=8, ge=1, le=16, description="groups of which all subsets are evaluated")

    def check(self, probe: Block) -> None:
        from .coalitions import Coalitions

        probe.check_baseline(self.baseline)
        groups = Coalitions.of(probe, self, self.baseline).groups
        least = 4 * (groups - 1) + 2
        if groups > self.exact_up_to and least > self.max_evaluations:
            raise JobError(
                f"max_evaluations: {self.max_evaluations}: {groups} groups take {least} scores a row at least. "
                "Raise it, or take features together with groups, such as {patches: 16}."
            )

    def explain(self, block: Block) -> Explanation:
        from .coalitions import Coalitions
        from .orders import exact_values, sampled_values

        game = Coalitions.of(block, self, self.baseline)
        if game.groups <= self.exact_up_to:
            sampled = exact_values(game)
        else:
            sampled = sampled_values(game, rtol=self.rtol, most=self.max_evaluations)
        return Explanation(
            attribution=game.spread(sampled.values, shared=True),
            relative_error=sampled.relative_error,
            evaluations=sampled.evaluations,
            score_input=sampled.score_input,
            score_baseline=sampled.score_baseline,
            status=sampled.status,
            curves={"group_effect": sampled.values, "standard_error": sampled.standard_error},
            axes={"group_effect": ("group",), "standard_error": ("group",)},
            constants={"groups": game.names},
        )
