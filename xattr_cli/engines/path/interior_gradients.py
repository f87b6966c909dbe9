"""Interior gradients: the gradients of counterfactual inputs (Sundararajan, Taly, Yan 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, field_validator, model_validator

from ...registry import ENGINES
from ..base import Explanation
from ..sweeps import Sweep, SweepRequest
from .options import PathEngine

if TYPE_CHECKING:
    from torch import Tensor

    from ..block import Block

__all__ = ["InteriorGradients"]


@ENGINES.register("interior_gradients")
class InteriorGradients(PathEngine):
    """Gradients at the counterfactual inputs x' + α (x − x') themselves, and what they add up to.

    Per row: curves over α of the score (does it saturate?), of the gradient's length, of the directional
    derivative Δ·∇f, and of its running sum; the maps Δ ⊙ ∇f at chosen α; the running integrals
    Δ ⊙ ∫₀^α ∇f at the same α; and for named layers the cosine between their activation at α and at 1.
    The integral over all of the path, which is integrated gradients, is the attribution.

    Reference: Sundararajan, Taly, Yan 2016, arXiv 1611.02639, sections 2 and 3.
    """

    curve_intervals: int = Field(
        default=32, ge=4, le=1024, description="the curves have one point more; they lie at α = (k / n)^warp"
    )
    alphas: tuple[float, ...] = Field(
        default=(0.1, 0.25, 0.5, 1.0), description="α of the maps and of the running integrals, in (0, 1]"
    )
    layers: tuple[str, ...] = Field(
        default=(), description="layers whose saturation is followed, named as in the model"
    )

    @field_validator("alphas")
    @classmethod
    def _alphas_on_the_path(cls, alphas: tuple[float, ...]) -> tuple[float, ...]:
        if any(not 0 < alpha <= 1 for alpha in alphas) or list(alphas) != sorted(set(alphas)):
            raise ValueError("alphas must increase and lie in (0, 1], such as [0.1, 0.5, 1.0]")
        return alphas

    @model_validator(mode="after")
    def _first_level_within_the_cap(self) -> Any:
        least = 2 * self.curve_intervals + 1
        if self.max_nodes < least:
            raise ValueError(
                f"max_nodes: {self.max_nodes} is less than the {least} gradients that curve_intervals: "
                f"{self.curve_intervals} and their midpoints take; raise max_nodes or lower curve_intervals"
            )
        return self

    @property
    def layered(self) -> bool:
        """Whether the saturation of layers is followed."""
        return bool(self.layers)

    def path(self) -> SweepRequest:
        """The sweep whose first nodes are the curves and whose integral is the map."""
        inner = tuple(alpha for alpha in self.alphas if alpha < 1)
        return SweepRequest(self.baseline, self.nested_rule(self.curve_intervals), curves=True, marks=inner)

    def check(self, probe: Block) -> None:
        from .saturation import check_layers

        super().check(probe)
        check_layers(probe, self.layers)

    def explain(self, block: Block) -> Explanation:
        from .saturation import saturation

        sweep = block.path(self.path())
        integral, delta = sweep.integral, sweep.path.delta
        curves, axes = self._curves(sweep)
        if self.layers:
            alpha = sweep.curves.alpha
            curves["curve/saturation"] = saturation(block.scorer, block.rows, sweep.path, alpha, self.layers)
            axes["curve/saturation"] = ("layer", "alpha")
        maps: dict[str, Tensor] = {}
        if self.alphas:
            alphas = sweep.column(self.alphas)
            points = sweep.path.baseline[:, None].lerp(sweep.path.input[:, None], alphas)
            maps["maps"] = delta[:, None] * block.gradients(points)[1]
            maps["running"] = delta[:, None] * sweep.running(self.alphas)
            axes |= {"maps": ("alpha",), "running": ("alpha",)}
        return Explanation(
            attribution=delta * integral.mean_gradient,
            relative_error=integral.relative_error,
            evaluations=integral.evaluations + len(self.alphas),
            score_input=integral.score_input,
            score_baseline=integral.score_baseline,
            status=integral.status,
            maps=maps,
            curves=curves,
            axes=axes,
            constants=self._constants(sweep),
        )

    def _curves(self, sweep: Sweep) -> tuple[dict[str, Tensor], dict[str, tuple[str, ...]]]:
        seen = sweep.curves
        curves = {
            "curve/score": seen.score,
            "curve/gradient_norm": seen.gradient_norm,
            "curve/directional_derivative": seen.directional_derivative,
            "curve/running_sum": seen.running_sum(),
        }
        return curves, dict.fromkeys(curves, ("alpha",))

    def _constants(self, sweep: Sweep) -> dict[str, np.ndarray | tuple[str, ...]]:
        constants: dict[str, np.ndarray | tuple[str, ...]] = {"alpha": sweep.curves.alpha.cpu().numpy()}
        if self.alphas:
            constants["map_alpha"] = np.array(self.alphas)
        if self.layers:
            constants["layers"] = self.layers
        return constants
