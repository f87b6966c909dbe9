"""Occlusion (Zeiler, Fergus 2014): what the score loses when a feature or a patch is replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...registry import ENGINES
from ...samples import Status
from ..base import Explanation
from .options import RemovalEngine

if TYPE_CHECKING:
    from ..block import Block

__all__ = ["Occlusion"]


@ENGINES.register("occlusion", "ablation", "feature_ablation", "feature_permutation")
class Occlusion(RemovalEngine):
    """Occlusion, f(x) − f(x with a group replaced by that of the baseline): needs no gradient.

    Every feature of a group bears the effect of the whole group, as captum has it; `group_effect` has each once.
    Exact, so its error bar is 0; it does not sum to anything, since groups may stand in for each other. For
    networks that cannot be differentiated, such as quantised ones, trees and rules.

    Reference: Zeiler, Fergus 2014, arXiv 1311.2901, section 4.2.
    """

    def check(self, probe: Block) -> None:
        from .coalitions import Coalitions

        probe.check_baseline(self.baseline)
        Coalitions.of(probe, self, self.baseline)

    def explain(self, block: Block) -> Explanation:
        from .coalitions import Coalitions, without_each

        game = Coalitions.of(block, self, self.baseline)
        scores = block.input_scores()
        effects = scores.double()[:, None] - without_each(game)
        nothing = scores.double().abs() * 0
        return Explanation(
            attribution=game.spread(effects, shared=False),
            relative_error=nothing,
            evaluations=nothing.nan_to_num().long() + game.groups + 1,
            score_input=scores,
            status=(nothing.nan_to_num() + int(Status.NOT_JUDGED)).char(),
            curves={"group_effect": effects},
            axes={"group_effect": ("group",)},
            constants={"groups": game.names},
        )
