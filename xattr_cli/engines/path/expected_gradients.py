"""Expected gradients (Erion, Janizek, Sturmfels, Lundberg, Lee 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...errors import JobError
from ...job.config import BaselineField
from ...numerics.backgrounds.rule import MOST_BASELINES, BackgroundRule, first_round
from ...numerics.paths.sampling import SamplingRule
from ...registry import ENGINES
from ..base import Explanation, LocalEngine

if TYPE_CHECKING:
    from torch import Tensor

    from ..block import Block

__all__ = ["ExpectedGradients"]

ALONE = 8
"""Strata, and replicates at least, of a background of equal baselines: 94 % of the errors are covered; of 4 × 16,
91 % (two networks, 100 rows each)."""


@ENGINES.register("expected_gradients", "eg", "gradient_shap", "gradient_explainer")
class ExpectedGradients(LocalEngine):
    """Expected gradients, the mean over baselines x' and α ~ U(0, 1) of (x − x') ⊙ ∇f(x' + α (x − x')).

    The baselines are samples of the data, so no single one has to be argued for; the map sums to
    f(x) − E f(x'). A background of up to 256 is taken as a whole: every baseline has a random α of its own,
    opposite for baselines that are alike, so that only α is sampled, and of the integrand only what differs
    from the line between its values at x' and at x. The gradients at x' are computed once for all rows of a
    target in a block, and not counted. A quarter of the baselines has a second α, which tells the error, and
    more and more of them have, until it is at most `rtol`. Of a larger background, or if replicate_size says so,
    baselines are drawn, none twice in a replicate, and independent replicates tell the error. All draws belong to
    the sample: no row depends on its batch.

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
        description="draw so many baselines per replicate, each with its own stratum of α; null: a background of "
        "up to 256 as a whole, 256 of a larger one",
    )
    replicates: int = Field(
        default=4, ge=4, description="replicates of draws in the first round; then they double"
    )

    def _rule(self, block: Block) -> SamplingRule:
        background = block.background(self.baseline)
        size, replicates = self.replicate_size or min(max(len(background), 16), 256), self.replicates
        if self.replicate_size is None and not _differ(background):
            size, replicates = ALONE, max(ALONE, replicates)
        least = replicates * size
        if self.max_draws < least:
            raise JobError(
                f"max_draws: {self.max_draws} is less than the {least} of the first round, replicates: "
                f"{replicates} times replicate_size: {size}. Raise the one or lower the others."
            )
        return SamplingRule(self.rtol, self.max_draws, size, replicates, block.seed)

    def _takes_all(self, block: Block) -> bool:
        """Whether the background is taken as a whole."""
        count = len(block.background(self.baseline))
        affordable = count <= MOST_BASELINES and first_round(count) <= self.max_draws
        # of equal baselines no two can exchange their α, which is what tells the error: those are drawn from
        return self.replicate_size is None and affordable and _differ(block.background(self.baseline))

    def check(self, probe: Block) -> None:
        if not self._takes_all(probe):
            self._rule(probe)

    def explain(self, block: Block) -> Explanation:
        if self._takes_all(block):
            rule = BackgroundRule(self.rtol, self.max_draws, block.seed, block.memory_bytes)
            expectation = block.expectation_over(self.baseline, rule)
        else:
            expectation = block.expectation(self.baseline, self._rule(block))
        return Explanation(
            attribution=expectation.attribution,
            relative_error=expectation.relative_error,
            evaluations=expectation.evaluations,
            score_input=block.input_scores(),
            score_baseline=block.background_scores(self.baseline),
            status=expectation.status,
            maps={"standard_error": expectation.standard_error},
        )


def _differ(background: Tensor) -> bool:
    return not bool((background == background[:1]).all())
