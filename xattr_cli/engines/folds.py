"""Maps of networks that were trained on several folds of the data: their mean, and how far they are apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn

from ..errors import JobError
from ..job.config import Job
from .averaging import mean_explanation
from .base import Explanation, LocalEngine, PopulationEngine
from .block import Block

__all__ = ["check_folds", "explain_folds"]


def check_folds(job: Job, folds: Sequence[nn.Module]) -> None:
    """Refuse what has no mean over folds.

    Raises:
        JobError: a tensor inside the networks is explained, or an engine has interactions or studies the dataset.
    """
    if not folds:
        return
    if job.explain.inside:
        raise JobError(
            "explain: a tensor inside the network is another one in each of model.checkpoints; explain inputs."
        )
    for label, engine in job.engines.items():
        if isinstance(engine, PopulationEngine) or engine.second_order:
            raise JobError(
                f"engines.{label}: {engine.registered_name} does not go with model.checkpoints; name one "
                "checkpoint in a job of its own."
            )


def explain_folds(
    engine: LocalEngine, blocks: Iterable[Block], names: tuple[str, ...], *, keep: bool
) -> Explanation:
    """The map of the mean score over all folds, which is the mean of their maps.

    `fold_deviation` is the standard deviation of the maps between folds, `fold_scores` (rows, folds) the score of
    each network.

    Arguments:
        engine: any that explains rows.
        blocks: the same rows, once for each network.
        names: of the networks.
        keep: the map of each network is stored, as `folds`.
    """
    found = [engine.explain(block) for block in blocks]
    return mean_explanation(found, names, word="fold", scores=[one.score_input for one in found], keep=keep)
