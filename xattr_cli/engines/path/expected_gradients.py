"""Expected gradients (Erion, Janizek, Sturmfels, Lundberg, Lee 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...errors import JobError
from ...job.config import BaselineField
from ...numerics.paths.sampling import SamplingRule
from ...registry import ENGINES
from ..base import Explanation, LocalEngine

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["ExpectedGradients"]


@ENGINES.register("expected_gradients")
class ExpectedGradients(LocalEngine):
    """Expected gradients, the mean over baselines x' and α ~ U(0, 1) of (x − x') ⊙ ∇f(x' + α (x − x')).

    The baselines are samples of the data, so no single one has to be argued for; the map sums to
    f(x) − E f(x'). Draws are stratified in α, never repeat a baseline within a replicate, and belong to
    the sample: no row depends on its batch. Independent replicates give a standard error per feature,
    and are added until a row's reported error is at most `rtol`.

    Reference: Erion et al. 2021, Nature Machine Intelligence 3, 620-631, arXiv 1906.10670, equation 3.
    """

    baseline: BaselineField = Field(
        default={"kind": "samples"}, validate_default=True, description="the background set D"
    )
    rtol: float = Field(default=0.05, gt=0, lt=1, description="relative L2 error of the map at which a row stops")
    max_draws: int = Field(default=4096, ge=16, description="most gradients per row; then it is not converged")
    replicate_size: int | None = Field(
        default=None,
        ge=1,
        description="draws per replicate: strata of α, each with its own baseline; null takes the size of "
        "the background, at least 16 and at most 256, so that every replicate sees all of it",
    )
    replicates: int = Field(default=4, ge=4, description="replicates of the first round; then they double")

    def _rule(self, block: Block) -> SamplingRule:
        background = len(block.background(self.baseline))
        size = self.replicate_size or min(max(background, 16), 256)
        least = self.replicates * size
        if self.max_draws < least:
            raise JobError(
                f"max_draws: {self.max_draws} is less than the {least} of the first round, replicates: "
                f"{self.replicates} times replicate_size: {size}. Raise the one or lower the others."
            )
        return SamplingRule(self.rtol, self.max_draws, size, self.replicates, block.seed)

    def check(self, probe: Block) -> None:
        self._rule(probe)

    def explain(self, block: Block) -> Explanation:
        found = block.expectation(self.baseline, self._rule(block))
        return Explanation(
            attribution=found.attribution,
            relative_error=found.relative_error,
            evaluations=found.evaluations,
            score_input=block.input_scores(),
            score_baseline=block.background_scores(self.baseline),
            status=found.status,
            maps={"standard_error": found.standard_error},
        )
