"""Training as all small networks here are trained: an optimizer goes through batches in a random order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["descend"]


def descend(
    optimizer: Optimizer, loss: Callable[[Tensor], Tensor], count: int, *, epochs: int, batch: int = 64
) -> None:
    """Take one step for every batch.

    Arguments:
        optimizer: of the parameters that are trained.
        loss: of a batch, given the (k,) int64 places of its samples.
        count: of samples; their order is drawn from torch's global generator.
        epochs: times that all samples are seen.
        batch: samples at once.
    """
    for _ in range(epochs):
        for part in torch.randperm(count).split(batch):
            optimizer.zero_grad()
            loss(part).backward()
            optimizer.step()
