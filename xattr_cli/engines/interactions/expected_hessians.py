"""Expected Hessians (Janizek, Sturmfels, Lee 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...errors import JobError
from ...job.config import BaselineField
from ...numerics.interactions.log_rules import NODE_COUNTS
from ...numerics.paths.sampling import SamplingRule
from ...registry import ENGINES
from ..base import Explanation
from .options import GROUP_AXES, InteractionEngine

if TYPE_CHECKING:
    from ...numerics.interactions.expectation import InteractionExpectation
    from ...numerics.interactions.integrate import InteractionIntegral
    from ..block import Block

__all__ = ["ExpectedHessians"]


@ENGINES.register("expected_hessians", "eh")
class ExpectedHessians(InteractionEngine):
    """Expected Hessians, the mean of integrated Hessians over baselines x' that are samples of the data.

    No single baseline has to be argued for; a row of the matrix sums to the expected gradient of its feature,
    which the same evaluations give (the map), all of it to f(x) − E f(x').

    A background that max_draws can afford is taken as a whole: the mean over its paths is a single integral along
    them, on 5, 11, 23, 47 or 95 nodes that all of them share, until a row's reported error is at most `rtol`;
    nothing is random, and the errors of the entries are the changes by the last nodes. Of a larger one, or if
    replicate_size says so, baselines are drawn: stratified along the paths, none twice within a replicate, and
    belonging to the sample, so that no row depends on its batch; independent replicates give every entry a
    standard error, and are added until the reported error of the matrix is at most `rtol`.

    Reference: Janizek, Sturmfels, Lee 2021, JMLR 22, arXiv 2002.04138, section 3.3.
    """

    baseline: BaselineField = Field(
        default={"kind": "samples"}, validate_default=True, description="the background set D"
    )
    rtol: float = Field(
        default=0.05, gt=0, lt=1, description="relative error of the matrix (Frobenius norm) at which a row stops"
    )
    max_draws: int = Field(
        default=4096,
        ge=16,
        description="most points per row, each a gradient and a product per group; a background of up to a fifth "
        "of it is taken as a whole",
    )
    replicate_size: int | None = Field(
        default=None,
        ge=1,
        description="draw so many baselines per replicate; null takes the whole background if max_draws affords "
        "it, else as many as there are, at least 16 and at most 64",
    )
    positions: int = Field(
        default=2, ge=1, description="draws from the path of each drawn baseline, one per stratum"
    )
    replicates: int = Field(
        default=4, ge=4, description="replicates of the first round of draws; then they double"
    )

    def check(self, probe: Block) -> None:
        from .bench import InteractionBench

        nodes, bench = self._nodes(probe), InteractionBench(probe, self)
        if nodes:
            bench.check_integration(nodes, len(probe.background(self.baseline)))
        else:
            self._rule(probe)
            bench.check_sampling()

    def explain(self, block: Block) -> Explanation:
        from .bench import InteractionBench

        bench = InteractionBench(block, self)
        nodes = self._nodes(block)
        expectation: InteractionIntegral | InteractionExpectation
        if nodes:
            expectation = bench.averaged(self.rtol, nodes)
            draws = expectation.nodes * len(block.background(self.baseline))
        else:
            expectation = bench.sampled(self._rule(block), self.positions)
            draws = expectation.draws
        ends = bench.ends_of_background()
        curves = {
            "interaction": expectation.interaction,
            "interaction_error": expectation.interaction_error,
            "row_sum_gap": expectation.row_sum_gap,
            **bench.group_curves(),
            **bench.drift_curves(ends),
        }
        if bench.groups.is_complete:
            total = expectation.interaction.double().sum(dim=(1, 2))
            curves["interaction_gap"] = total - (ends.input.double() - ends.baseline.double())
        matrix = ("group", "group")
        return Explanation(
            attribution=expectation.attribution,
            relative_error=expectation.relative_error,
            evaluations=draws * (1 + len(bench.groups.chosen)),
            score_input=ends.input,
            score_baseline=ends.baseline,
            status=expectation.status,
            maps={"standard_error": expectation.attribution_error},
            curves=curves,
            axes={"interaction": matrix, "interaction_error": matrix, "row_sum_gap": ("group",), **GROUP_AXES},
            constants=bench.constants(),
        )

    def _nodes(self, block: Block) -> int:
        """Most nodes that all paths of the background may have; 0 if baselines are to be drawn."""
        affordable = self.max_draws // len(block.background(self.baseline))
        return affordable if self.replicate_size is None and affordable >= NODE_COUNTS[0] else 0

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
