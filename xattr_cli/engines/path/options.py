"""Options that the path methods share: where the path starts, and how accurately it is integrated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from ...job.config import BaselineField
from ...numerics.paths.quadrature import AdaptiveRule
from ..base import LocalEngine

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["PathEngine"]


_STEPS = (
    "A number of steps says nothing of the error: set rtol, and every row takes as many as that needs, max_nodes "
    "at most. A fixed number, as in captum, is integrated_gradients: {rule: midpoint, nodes: 50}."
)
_BATCHES = "Device calls are as large as fit; compute.memory and compute.batch_rows bound them."


class PathEngine(LocalEngine):
    """A method that integrates the gradient from a baseline x' to the input x."""

    elsewhere: ClassVar[Mapping[str, str]] = dict.fromkeys(("n_steps", "steps"), _STEPS) | {
        "baselines": "Here it is baseline: {kind: ...}; `xattr-cli baselines` lists the kinds.",
        "internal_batch_size": _BATCHES,
        "batch_size": _BATCHES,
        "n_samples": "How many samples a background has is baseline: {kind: samples, count: 64}.",
        "tolerance": "Here it is rtol.",
        "method": "Here it is rule; `auto` adapts to each row, midpoint, gauss_legendre and others take `nodes`.",
    }

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
