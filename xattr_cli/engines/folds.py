"""Maps of networks that were trained on several folds of the data: their mean, and how far they are apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import JobError
from ..job.config import Job
from ..samples import Status
from .base import Explanation, LocalEngine, PopulationEngine
from .block import Block

__all__ = ["check_folds", "explain_folds"]

SEVERITY = (Status.CONVERGED, Status.NOT_JUDGED, Status.NOT_CONVERGED, Status.INCONSISTENT, Status.QUARANTINED)


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
                "checkpoint "
                "in a job of its own."
            )


def explain_folds(
    engine: LocalEngine, blocks: Iterable[Block], names: tuple[str, ...], *, keep: bool
) -> Explanation:
    """The map of the mean score over all folds, which is the mean of their maps.

    `fold_deviation` is the standard deviation of the maps between folds, `fold_scores` (rows, folds) the score of
    each network. The reported error bounds that of the mean: ‖Σ errors‖ ≤ Σ ‖errors‖.

    Arguments:
        engine: any that explains rows.
        blocks: the same rows, once for each network.
        names: of the networks.
        keep: the map of each network is stored, as `folds`.
    """
    return _mean([engine.explain(block) for block in blocks], names, keep=keep)


def _mean(found: Sequence[Explanation], names: tuple[str, ...], *, keep: bool) -> Explanation:
    first, maps = found[0], torch.stack([one.attribution for one in found], dim=1)
    mean = maps.mean(dim=1)
    sizes = torch.linalg.vector_norm(maps, dim=2, dtype=torch.float64)
    errors = torch.stack([one.relative_error.double() for one in found], dim=1)
    absolute = (errors * sizes).nan_to_num(nan=torch.inf).mean(dim=1)
    size = torch.linalg.vector_norm(mean, dim=1, dtype=torch.float64)
    deviation = {"fold_deviation": maps.std(dim=1)}
    kept = {"folds": maps} if keep else {}
    known = [one.score_baseline for one in found if one.score_baseline is not None]
    scores = torch.stack([one.score_input for one in found], dim=1)
    return replace(
        first,
        attribution=mean,
        relative_error=torch.where(absolute > 0, absolute / size, 0.0),
        evaluations=sum((one.evaluations for one in found), torch.zeros_like(first.evaluations)),
        score_input=scores.mean(dim=1),
        score_baseline=_mean_of(known) if len(known) == len(found) else None,
        status=_worst([one.status for one in found]),
        maps={**_means([one.maps for one in found]), **deviation, **kept},
        curves={**_means([one.curves for one in found]), "fold_scores": scores},
        axes={**first.axes, "folds": ("fold",), "fold_scores": ("fold",)},
        constants={**first.constants, "fold_names": names},
    )


def _means(found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: _mean_of([one[name] for one in found]) for name in found[0]}


def _mean_of(values: Sequence[Tensor]) -> Tensor:
    return torch.stack([value.double() for value in values]).mean(dim=0).to(values[0].dtype)


def _worst(status: Sequence[Tensor | None]) -> Tensor | None:
    known = [one for one in status if one is not None]
    if len(known) < len(status):
        return None
    rank = torch.tensor([SEVERITY.index(Status(code)) for code in range(len(Status))], device=known[0].device)
    worst = rank[torch.stack(known).long()].amax(dim=0)
    return torch.tensor([int(code) for code in SEVERITY], device=worst.device)[worst].to(torch.int8)
