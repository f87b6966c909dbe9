"""Noise around a method: SmoothGrad, its squares, and VarGrad, with the standard errors of their means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ...job.config import BaselineField
from ...registry import ENGINES
from ...samples import Status
from ..base import Explanation, LocalEngine

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["SmoothGrad"]


@ENGINES.register("smooth_grad", "noise_tunnel", "vargrad", "smooth_grad_sq")
class SmoothGrad(LocalEngine):
    """Mean (or mean square, or variance) of a map over inputs x + ε with ε ~ N(0, σ²), and its standard error.

    Of the gradient it is SmoothGrad; `over: square` has SmoothGrad-squared, `over: variance` VarGrad. Noise
    belongs to the sample, whatever batch it is in. The reported error is that of the mean over `draws`, at the
    95th percentile, not how far the smoothed map is from the map itself, which is the method's intention.

    Reference: Smilkov et al. 2017, arXiv 1706.03825; Adebayo et al. 2018, arXiv 1810.03292 (VarGrad).
    """

    of: Literal["gradient", "input_x_gradient", "integrated_gradients"] = Field(
        default="gradient", description="the map that noise is put around; gradients keep their sign"
    )
    over: Literal["mean", "square", "variance"] = Field(default="mean", description="what is taken over the draws")
    sigma: float = Field(default=0.15, gt=0, description="standard deviation of the noise")
    relative: bool = Field(
        default=True, description="sigma is a share of each sample's range, max x − min x, as in the paper"
    )
    draws: int = Field(default=64, ge=2, description="noisy inputs per row")
    baseline: BaselineField = Field(
        default={"kind": "zero"}, validate_default=True, description="of integrated gradients"
    )
    nodes: int = Field(default=16, ge=2, description="midpoints per integral, of integrated gradients")

    def explain(self, block: Block) -> Explanation:
        from .noisy_maps import NoisyMaps

        noisy = NoisyMaps(block, self.of, self.sigma, self.relative, self.baseline, self.nodes)
        averaged = noisy.over_draws(self.draws, self.over)
        scores = block.input_scores()
        nothing = (scores.double() * 0).nan_to_num()
        return Explanation(
            attribution=averaged.values,
            relative_error=averaged.relative_error,
            evaluations=nothing.long() + self.draws * (self.nodes if self.of == "integrated_gradients" else 1),
            score_input=scores,
            status=(nothing + int(Status.NOT_JUDGED)).char(),
            maps={"standard_error": averaged.standard_error},
        )
