"""The mean of several maps of the same rows, of several networks or baselines, and how far they are apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..samples import Status
from .base import Explanation

__all__ = ["mean_explanation"]

SEVERITY = (Status.CONVERGED, Status.NOT_JUDGED, Status.NOT_CONVERGED, Status.INCONSISTENT, Status.QUARANTINED)


def mean_explanation(
    explanations: Sequence[Explanation],
    names: tuple[str, ...],
    *,
    word: str,
    scores: Sequence[Tensor | None],
    keep: bool,
) -> Explanation:
    """The mean of explanations; its reported error bounds that of the mean: ‖Σ errors‖ ≤ Σ ‖errors‖.

    `WORD_deviation` is the standard deviation of the maps, `WORD_scores` (rows, count) the scores, `WORD_names`
    the names, `WORDs` the maps themselves.

    Arguments:
        explanations: of the same rows.
        names: of what makes them different.
        word: for it, such as "fold".
        scores: (rows,) that belong to each; all None for none.
        keep: the maps are stored.
    """
    first, maps = explanations[0], torch.stack([each.attribution for each in explanations], dim=1)
    mean = maps.mean(dim=1)
    sizes = torch.linalg.vector_norm(maps, dim=2, dtype=torch.float64)
    errors = torch.stack([each.relative_error.double() for each in explanations], dim=1)
    absolute = (errors * sizes).nan_to_num(nan=torch.inf).mean(dim=1)
    size = torch.linalg.vector_norm(mean, dim=1, dtype=torch.float64)
    known = [each.score_baseline for each in explanations if each.score_baseline is not None]
    told = [each for each in scores if each is not None]
    of_each = {f"{word}_scores": torch.stack(told, dim=1)} if len(told) == len(explanations) else {}
    return replace(
        first,
        attribution=mean,
        relative_error=torch.where(absolute > 0, absolute / size, 0.0),
        evaluations=sum((each.evaluations for each in explanations), torch.zeros_like(first.evaluations)),
        score_input=_mean_of([each.score_input for each in explanations]),
        score_baseline=_mean_of(known) if len(known) == len(explanations) else None,
        status=_worst([each.status for each in explanations]),
        maps={
            **_means([each.maps for each in explanations]),
            f"{word}_deviation": maps.std(dim=1),
            **({f"{word}s": maps} if keep else {}),
        },
        curves={**_means([each.curves for each in explanations]), **of_each},
        axes={**first.axes, f"{word}s": (word,), f"{word}_scores": (word,)},
        constants={**first.constants, f"{word}_names": names},
    )


def _means(mappings: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {name: _mean_of([one[name] for one in mappings]) for name in mappings[0]}


def _mean_of(values: Sequence[Tensor]) -> Tensor:
    return torch.stack([value.double() for value in values]).mean(dim=0).to(values[0].dtype)


def _worst(status: Sequence[Tensor | None]) -> Tensor | None:
    known = [one for one in status if one is not None]
    if len(known) < len(status):
        return None
    rank = torch.tensor([SEVERITY.index(Status(code)) for code in range(len(Status))], device=known[0].device)
    worst = rank[torch.stack(known).long()].amax(dim=0)
    return torch.tensor([int(code) for code in SEVERITY], device=worst.device)[worst].to(torch.int8)
