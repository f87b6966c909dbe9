"""Average causal effects (Chattopadhyay, Manupriya, Sarkar, Balasubramanian 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...numerics.interventions.attribution import CausalAttribution
from ...registry import ENGINES
from ...samples import Status
from ..base import Effects, Explanation
from .options import AceOptions

if TYPE_CHECKING:
    from ..block import Block
    from ..population import Population

__all__ = ["AverageCausalEffects"]


@ENGINES.register("ace")
class AverageCausalEffects(AceOptions):
    """Average causal effects, ACE_i(α) = E[y | do(x_i = α)] − mean of that over α: what setting an input does.

    The network is read as a structural causal model whose inputs do not cause each other. Every chosen
    feature is set to each α of its range, for all targets at once. The empirical estimate is the mean of
    the output over the data with x_i := α; the Taylor estimate f(μ) + ½ tr(∇²f(μ) Σ), with mean and
    covariance after the intervention, does not grow with the data, but sees of a network with kinks only
    what is smooth, and is far off where the output saturates. Where both are made, effects come from the
    empirical one, and the distance is stored. A Bayesian polynomial per feature and target, the causal
    regressor, gives the effect with a deviation at any α; it attributes new samples without the network
    (xattr-cli apply-ace), and every row of the job. The reported error of a row covers, in 95 % of rows, what
    the regressors miss of the curves that they were fitted to.

    A group sets all its members together, each to the same place in its own range. Where samples have
    lengths, a step counts only in samples that reach it.

    Reference: Chattopadhyay et al. 2019, ICML, arXiv 1902.02302, definition 3, equations 5 to 7.
    """

    @property
    def second_order(self) -> bool:
        """Whether second derivatives are asked for: by the Taylor estimate."""
        return self.estimator != "empirical"

    @property
    def differentiates(self) -> bool:
        """Whether gradients are asked for: by the Taylor estimate, or to find tau."""
        return self.second_order or (self.feedback != "none" and self.tau == "auto")

    @property
    def explains_rows(self) -> bool:
        """Whether every row is given the effects of its own values."""
        return self.attributions

    def check(self, population: Population) -> None:
        from .study import check

        check(self, population)

    def expected_evaluations(self, population: Population) -> int | None:
        from .study import expected_evaluations

        return expected_evaluations(self, population)

    def study(self, population: Population) -> Effects:
        from .study import study

        return study(self, population)

    def explain(self, block: Block, effects: Mapping[str, np.ndarray]) -> Explanation:
        """The effect of each feature's own value on the row's target; a group's is shared by its members."""
        from .data import PaddingMask

        names = [str(k) for k in range(len(effects["alpha"]))]
        attribution = CausalAttribution.load(names, effects)
        points = block.inputs.double().cpu().numpy()
        places = {int(target): position for position, target in enumerate(effects["targets"])}
        target = np.array([places[int(t)] for t in block.rows.target.tolist()])
        effects_of_rows = attribution.effects(points, target)
        present = PaddingMask(block.scorer, self.lengths).of(block.rows.context, len(points))
        shares, error, outside = attribution.maps(effects_of_rows, present)
        status = np.where(outside, int(Status.NOT_CONVERGED), int(Status.CONVERGED)).astype(np.int8)
        tensor = block.scorer.tensor
        return Explanation(
            attribution=tensor(shares),
            relative_error=tensor(error),
            evaluations=tensor(np.ones(len(points), np.int64)),
            score_input=block.input_scores(),
            status=tensor(status),
        )
