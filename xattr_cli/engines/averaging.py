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
    found: Sequence[Explanation], names: tuple[str, ...], *, word: str, scores: Sequence[Tensor | None], keep: bool
) -> Explanation:
    """The mean of explanations; its reported error bounds that of the mean: ‖Σ errors‖ ≤ Σ ‖errors‖.

    `WORD_deviation` is the standard deviation of the maps, `WORD_scores` (rows, count) the scores, `WORD_names`
    the names, `WORDs` the maps themselves.

    Arguments:
        found: of the same rows.
        names: of what makes them different.
        word: for it, such as "fold".
        scores: (rows,) that belong to each; all None for none.
        keep: the maps are stored.
    """
    first, maps = found[0], torch.stack([one.attribution for one in found], dim=1)
    mean = maps.mean(dim=1)
    sizes = torch.linalg.vector_norm(maps, dim=2, dtype=torch.float64)
    errors = torch.stack([one.relative_error.double() for one in found], dim=1)
    absolute = (errors * sizes).nan_to_num(nan=torch.inf).mean(dim=1)
    size = torch.linalg.vector_norm(mean, dim=1, dtype=torch.float64)
    known = [one.score_baseline for one in found if one.score_baseline is not None]
    told = [one for one in scores if one is not None]
    of_each = {f"{word}_scores": torch.stack(told, dim=1)} if len(told) == len(found) else {}
    return replace(
        first,
        attribution=mean,
        relative_error=torch.where(absolute > 0, absolute / size, 0.0),
        evaluations=sum((one.evaluations for one in found), torch.zeros_like(first.evaluations)),
        score_input=_mean_of([one.score_input for one in found]),
        score_baseline=_mean_of(known) if len(known) == len(found) else None,
        status=_worst([one.status for one in found]),
        maps={
            **_means([one.maps for one in found]),
            f"{word}_deviation": maps.std(dim=1),
            **({f"{word}s": maps} if keep else {}),
        },
        curves={**_means([one.curves for one in found]), **of_each},
        axes={**first.axes, f"{word}s": (word,), f"{word}_scores": (word,)},
        constants={**first.constants, f"{word}_names": names},
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
