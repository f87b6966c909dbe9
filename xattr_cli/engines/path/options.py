"""Options that the path methods share: where the path starts, and how accurately it is integrated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, field_validator

from ...job.config import BaselineField
from ...numerics.paths.quadrature import AdaptiveRule
from ..base import LocalEngine

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["PathEngine"]


class PathEngine(LocalEngine):
    """A method that integrates the gradient from a baseline x' to the input x."""

    baseline: BaselineField = Field(
        default={"kind": "zero"}, validate_default=True, description="where every path starts, x'"
    )
    rtol: float = Field(default=0.05, gt=0, lt=1, description="relative L2 error of the map at which a row stops")
    max_nodes: int = Field(default=1024, ge=9, description="most gradients per row; then it is not converged")
    warp: float = Field(
        default=2.0, ge=1, le=8, description="p of t = u^p, 1 or from 2 on; nodes lie dense near x' in t"
    )

    @field_validator("warp")
    @classmethod
    def _leaves_the_baseline_smoothly(cls, power: float) -> float:
        # dt/du is vertical at u = 0, and second differences of a few nodes do not see how far that is off
        if 1 < power < 2:
            raise ValueError(f"must be 1, or from 2 to 8; the error bar is not to be trusted with {power:g}")
        return power

    def check(self, probe: Block) -> None:
        probe.check_baseline(self.baseline)

    def nested_rule(self, intervals: int) -> AdaptiveRule:
        """The adaptive rule that these options describe, with the first trapezoid's `intervals`."""
        return AdaptiveRule(self.rtol, self.max_nodes, intervals, self.warp)
