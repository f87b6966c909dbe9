"""Integrated Hessians (Janizek, Sturmfels, Lee 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...job.config import BaselineField
from ...numerics.interactions.log_rules import NODE_COUNTS
from ...numerics.paths.quadrature import AdaptiveRule
from ...registry import ENGINES
from ..base import Explanation
from ..sweeps import SweepRequest
from .options import GROUP_AXES, InteractionEngine

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["IntegratedHessians"]

# attributions that only choose the top groups need not be exact
SCREEN_RULE = AdaptiveRule(rtol=0.05, max_nodes=256, intervals=6, warp=2.0)


@ENGINES.register("integrated_hessians", "ih", "path_explain")
class IntegratedHessians(InteractionEngine):
    """Integrated Hessians, Γ_ij: how much of the attribution of feature i is due to feature j.

    Γ_ij = (x − x')_i (x − x')_j ∫₀¹ −t ln t · ∂_ij f(x' + t (x − x')) dt for i ≠ j, and on the diagonal
    (x − x')_i ∫₀¹ −ln t · ∂_i f dt more: what the feature does alone. A row of the matrix sums to the integrated
    gradient of its feature, which the same sweep gives (the map), all of it to f(x) − f(x'). Groups of features
    obey the same sums, and cost a Hessian-vector product each. The paper's double integral over two path
    variables depends on their product only, so that n evaluations do what its n² did.

    Every row is integrated on 5, 11, 23, 47 or 95 nodes until its reported error, which bounds the matrix, is at
    most `rtol`. The error follows from by how much the sums of each row miss the integrated gradients.

    Reference: Janizek, Sturmfels, Lee 2021, JMLR 22, arXiv 2002.04138, equations 5 and 6.
    """

    baseline: BaselineField = Field(
        default={"kind": "zero"}, validate_default=True, description="where every path starts, x'"
    )
    rtol: float = Field(
        default=0.01, gt=0, lt=1, description="relative error of the matrix (Frobenius norm) at which a row stops"
    )
    max_nodes: int = Field(
        default=NODE_COUNTS[-1],
        ge=NODE_COUNTS[0],
        le=NODE_COUNTS[-1],
        description="most nodes per row; then it is not converged",
    )

    def path(self) -> SweepRequest | None:
        """The first-order sweep by which `top` chooses."""
        return None if self.top is None else SweepRequest(self.baseline, SCREEN_RULE)

    def check(self, probe: Block) -> None:
        from .bench import InteractionBench

        probe.check_baseline(self.baseline)
        InteractionBench(probe, self).check_integration(self.max_nodes)

    def explain(self, block: Block) -> Explanation:
        from .bench import InteractionBench

        bench = InteractionBench(block, self)
        integral = bench.integrated(self.rtol, self.max_nodes)
        ends = bench.ends()
        curves = {
            "interaction": integral.interaction,
            "row_sum_gap": integral.row_sum_gap,
            "nodes": integral.nodes,
            **bench.group_curves(),
            **bench.drift_curves(ends),
        }
        if bench.groups.is_complete:
            total = integral.interaction.double().sum(dim=(1, 2))
            curves["interaction_gap"] = total - (ends.input.double() - ends.baseline.double())
        products = len(bench.groups.chosen)
        return Explanation(
            attribution=integral.attribution,
            relative_error=integral.relative_error,
            evaluations=integral.nodes * (1 + products) + 2,
            score_input=ends.input,
            score_baseline=ends.baseline,
            status=integral.status,
            curves=curves,
            axes={"interaction": ("group", "group"), "row_sum_gap": ("group",), **GROUP_AXES},
            constants=bench.constants(),
        )
