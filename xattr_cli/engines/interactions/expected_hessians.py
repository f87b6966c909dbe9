"""Expected Hessians (Janizek, Sturmfels, Lee 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...errors import JobError
from ...job.config import BaselineField
from ...numerics.paths.sampling import SamplingRule
from ...registry import ENGINES
from ..base import Explanation
from .options import GROUP_AXES, InteractionEngine, drift_curves, group_curves

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["ExpectedHessians"]


@ENGINES.register("expected_hessians")
class ExpectedHessians(InteractionEngine):
    """Expected Hessians, the mean of integrated Hessians over baselines x' that are samples of the data.

    No single baseline has to be argued for; a row of the matrix sums to the expected gradient of its feature,
    which the same draws estimate (the map), all of it to f(x) − E f(x'). Draws are stratified along the paths,
    never repeat a baseline within a replicate, and belong to the sample: no row depends on its batch. Independent
    replicates give every entry a standard error, and are added until the reported error of the matrix is at most
    `rtol`.

    Reference: Janizek, Sturmfels, Lee 2021, JMLR 22, arXiv 2002.04138, section 3.3.
    """

    baseline: BaselineField = Field(
        default={"kind": "samples"}, validate_default=True, description="the background set D"
    )
    rtol: float = Field(
        default=0.05, gt=0, lt=1, description="relative error of the matrix (Frobenius norm) at which a row stops"
    )
    max_draws: int = Field(
        default=4096, ge=16, description="most draws per row, each a gradient and a product per group"
    )
    replicate_size: int | None = Field(
        default=None,
        ge=1,
        description="baselines per replicate; null takes the size of the background, at least 16 and at most 64",
    )
    positions: int = Field(default=2, ge=1, description="draws from the path of each baseline, one per stratum")
    replicates: int = Field(default=4, ge=4, description="replicates of the first round; then they double")

    def _rule(self, block: Block) -> SamplingRule:
        background = len(block.background(self.baseline))
        size = self.replicate_size or min(max(background, 16), 64)
        least = self.replicates * size * self.positions
        if self.max_draws < least:
            raise JobError(
                f"max_draws: {self.max_draws} is less than the {least} of the first round, replicates: "
                f"{self.replicates} times replicate_size: {size} times positions: {self.positions}. Raise the one "
                "or lower the others."
            )
        return SamplingRule(self.rtol, self.max_draws, size, self.replicates, block.seed)

    def check(self, probe: Block) -> None:
        self._rule(probe)
        probe.interactions(self).check_sampling()

    def explain(self, block: Block) -> Explanation:
        bench = block.interactions(self)
        found = bench.expected(self._rule(block), self.positions)
        ends = bench.ends_of_background()
        curves = {
            "interaction": found.interaction,
            "interaction_error": found.standard_error,
            "row_sum_gap": found.row_sum_gap,
            **group_curves(bench),
            **drift_curves(bench, ends),
        }
        if bench.groups.is_complete:
            total = found.interaction.double().sum(dim=(1, 2))
            curves["interaction_gap"] = total - (ends.input.double() - ends.baseline.double())
        matrix = ("group", "group")
        return Explanation(
            attribution=found.attribution,
            relative_error=found.relative_error,
            evaluations=found.draws * (1 + len(bench.groups.chosen)),
            score_input=ends.input,
            score_baseline=ends.baseline,
            status=found.status,
            maps={"standard_error": found.attribution_error},
            curves=curves,
            axes={"interaction": matrix, "interaction_error": matrix, "row_sum_gap": ("group",), **GROUP_AXES},
            constants=bench.constants(),
        )
