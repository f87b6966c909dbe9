"""Integrated gradients (Sundararajan, Taly, Yan 2017)."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from ...errors import JobError
from ...registry import ENGINES
from ...samples import Status
from ..base import Explanation
from ..sweeps import NamedRule, SweepRequest
from .options import PathEngine

if TYPE_CHECKING:
    from torch import Tensor

    from ..block import Block

__all__ = ["IntegratedGradients"]

FIRST_INTERVALS = 6

log = logging.getLogger(__name__)


@ENGINES.register("integrated_gradients", "ig", "layer_integrated_gradients")
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

    multiply_by_inputs: bool = Field(
        default=True,
        description="false leaves out the factor x − x': the mean gradient on the path, whose error is not judged "
        "(the path is still integrated until the product is right within rtol)",
    )
    hypothetical: int | None = Field(
        default=None,
        ge=0,
        description="axis of one-hot categories, such as the nucleotides of a sequence: also store what each "
        "category would contribute in the place of the one that is there",
    )

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
        integral, gradient = sweep.integral, sweep.integral.mean_gradient
        given = Explanation(
            attribution=sweep.path.delta * gradient,
            relative_error=integral.relative_error,
            evaluations=integral.evaluations,
            score_input=integral.score_input,
            score_baseline=integral.score_baseline,
            status=integral.status,
            maps={} if self.hypothetical is None else {"hypothetical": self._hypothetical(block, gradient)},
        )
        return given if self.multiply_by_inputs else _mean_gradient(given, gradient)

    def check(self, probe: Block) -> None:
        super().check(probe)
        specs = probe.scorer.layout.specs
        if self.hypothetical is not None and any(self.hypothetical >= len(spec.shape) for spec in specs):
            shapes = ", ".join(f"{spec.name} {spec.shape}" for spec in specs)
            raise JobError(
                f"hypothetical: {self.hypothetical}: no such axis; a sample has the shape {shapes}, and axes "
                "count from 0."
            )

    def _hypothetical(self, block: Block, gradient: Tensor) -> Tensor:
        """(rows, D): (e_c − x') · mean gradient of every one-hot category c at its place."""
        layout, axis = block.scorer.layout, (self.hypothetical or 0) + 1
        parts = zip(
            layout.split(gradient).values(), layout.split(block.reference(self.baseline)).values(), strict=True
        )
        pieces = [(mean - (mean * start).sum(dim=axis, keepdim=True)).flatten(1) for mean, start in parts]
        whole = gradient.clone()
        at = 0
        for piece in pieces:
            whole[:, at : at + piece.shape[1]] = piece
            at += piece.shape[1]
        return whole


def _mean_gradient(given: Explanation, gradient: Tensor) -> Explanation:
    """The same with the mean gradient as the map; what is known of the error is of the product with x − x'."""
    nothing = given.relative_error * 0
    status = (nothing.nan_to_num() + int(Status.NOT_JUDGED)).char()
    return replace(
        given, attribution=gradient, relative_error=nothing + float("nan"), score_baseline=None, status=status
    )
