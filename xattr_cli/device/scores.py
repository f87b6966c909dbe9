"""From the outputs of a network to the one number per row that is explained."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

__all__ = ["Score", "choose_targets", "predictions", "scores_of"]

Score = Literal["auto", "logit", "probability", "log_probability", "raw"]


def scores_of(outputs: Tensor, score: Score) -> Tensor:
    """Scores of every target.

    Arguments:
        outputs: (n, outputs) as the network returns them.
        score: `auto` and `raw` take an output as it is; so does `logit`, except that a single
            output is read as the log-odds of class 1, so that class 0 has its negative.

    Returns:
        (n, targets); a single output with a probabilistic score has the two targets 0 and 1.
    """
    if score in ("auto", "raw"):
        return outputs
    if outputs.shape[1] == 1:
        # -z and z differ by 2z, but each class's own log-odds are what its logit means here
        signed = torch.cat([-outputs, outputs], dim=1)
        if score == "logit":
            return signed
        return signed.sigmoid() if score == "probability" else torch.nn.functional.logsigmoid(signed)
    if score == "logit":
        return outputs
    return outputs.softmax(dim=1) if score == "probability" else outputs.log_softmax(dim=1)


def predictions(scores: Tensor) -> Tensor:
    """(n,) predicted class (int64), or the predicted value itself (float64) if there is one target."""
    return scores[:, 0].double() if scores.shape[1] == 1 else scores.argmax(dim=1)


def choose_targets(
    scores: Tensor, labels: Tensor | None, select: str, index: tuple[int, ...], count: int
) -> Tensor:
    """(n, k) int64: the k targets explained for each sample.

    Arguments:
        scores: (n, targets).
        labels: (n,) class indices, needed if `select` is `label`.
        select, index, count: of the job's `target`.
    """
    n, targets = scores.shape
    if select == "all":
        return torch.arange(targets).expand(n, targets)
    if select == "index":
        return torch.tensor(index).expand(n, len(index))
    if select == "top":
        return scores.topk(count, dim=1).indices
    if targets == 1:
        return torch.zeros(n, 1, dtype=torch.int64)
    if select == "label" and labels is not None:
        return labels.to(torch.int64)[:, None]
    return scores.argmax(dim=1, keepdim=True)
