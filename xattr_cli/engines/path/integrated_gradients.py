"""Integrated gradients (Sundararajan, Taly, Yan 2017)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from ...registry import ENGINES
from ..base import Explanation
from ..sweeps import NamedRule, SweepRequest
from .options import PathEngine

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["IntegratedGradients"]

FIRST_INTERVALS = 6

log = logging.getLogger(__name__)


@ENGINES.register("integrated_gradients")
class IntegratedGradients(PathEngine):
    """Integrated gradients, (x − x') ⊙ ∫₀¹ ∇f(x' + t (x − x')) dt.

    The map sums to f(x) − f(x'), gives an input that f ignores exactly 0, and depends on the function
    alone, not on how the network computes it. Every row is integrated until its reported error is at
    most `rtol`: from gradients at nodes, or from cells whose every derivative is a secant, the slope between both
    ends of the cell, which needs fewer of them wherever the network's functions are known (`auto` measures). A
    fixed `rule` with `nodes` is there for comparison with papers.

    Reference: Sundararajan, Taly, Yan 2017, arXiv 1703.01365, equation 1.
    """

    rule: Literal["auto", "secant", "gradient", "midpoint", "trapezoid", "gauss_legendre", "riemann_right"] = (
        Field(
            default="auto",
            description="auto, secant (cells) and gradient adapt to each row; the others take `nodes` for all",
        )
    )
    nodes: int | None = Field(default=None, ge=2, description="gradients per row of a fixed rule")

    @field_validator("rule", mode="before")
    @classmethod
    def _was_called_otherwise(cls, rule: object) -> object:
        if rule != "nested":
            return rule
        log.warning("rule: nested is called gradient now, and is the same; auto may take fewer evaluations")
        return "gradient"

    @model_validator(mode="after")
    def _nodes_go_with_fixed_rules(self) -> Any:
        adapts = self.rule in ("auto", "secant", "gradient")
        if adapts and self.nodes is not None:
            raise ValueError(
                f"nodes: {self.nodes} goes with a fixed rule (midpoint, trapezoid, gauss_legendre, "
                f"riemann_right); rule {self.rule} stops at rtol, and at max_nodes at the latest"
            )
        if not adapts and self.nodes is None:
            raise ValueError(f"rule {self.rule!r} needs nodes, such as nodes: 50")
        return self

    def path(self) -> SweepRequest:
        """The sweep whose integral is the map."""
        if self.rule == "auto" or self.rule == "secant" or self.rule == "gradient":
            return SweepRequest(self.baseline, self.nested_rule(FIRST_INTERVALS), by=self.rule)
        return SweepRequest(self.baseline, NamedRule(self.rule, self.nodes or 0))

    def explain(self, block: Block) -> Explanation:
        sweep = block.path(self.path())
        return Explanation(
            attribution=sweep.path.delta * sweep.integral.mean_gradient,
            relative_error=sweep.integral.relative_error,
            evaluations=sweep.integral.evaluations,
            score_input=sweep.integral.score_input,
            score_baseline=sweep.integral.score_baseline,
            status=sweep.integral.status,
        )
