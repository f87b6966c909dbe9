"""Fans of straight paths: one from a row's own baseline, or one from every baseline of a background set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..paths.field import Part
from .grouping import HessianField

__all__ = ["Fan", "FanNodes"]


@dataclass(frozen=True)
class Fan:
    """Paths from each of some baselines to the input of a row, which count alike.

    Attributes:
        input: x, (rows, D).
        baseline: (rows, D), a path for each row; or (m, D), as many for every row.
        is_shared: whether the baselines are those of every row.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> background = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> Fan(torch.tensor([[2.0, 3.0]]), background, is_shared=True).scores(ProductField(), 0.0).tolist()
        [0.5]
    """

    input: Tensor
    baseline: Tensor
    is_shared: bool

    @property
    def paths(self) -> int:
        """Paths of a row: m, or 1."""
        return len(self.baseline) if self.is_shared else 1

    def at(self, row: Tensor, t: Tensor) -> FanNodes:
        """Nodes of rows (k,) at path positions (k,), each on all paths of its row: k times `paths` points."""
        spread = torch.arange(self.paths, device=row.device).repeat(len(row))
        row = row.repeat_interleave(self.paths)
        return FanNodes(self, row, spread if self.is_shared else row, t.repeat_interleave(self.paths))

    def scores(self, field: HessianField, t: float) -> Tensor:
        """(rows,) mean score of each row's paths at one position."""
        every = torch.arange(len(self.input), device=self.input.device)
        scores = field.values(self.at(every, torch.full_like(self.input[:, 0], t)))
        return scores.view(-1, self.paths).mean(dim=1)


@dataclass(frozen=True)
class FanNodes:
    """Points on the paths of several rows, interpolated only when they are taken.

    Example:
        >>> fan = Fan(torch.tensor([[2.0, 3.0]]), torch.tensor([[0.0, 1.0]]), is_shared=False)
        >>> halfway = fan.at(torch.tensor([0]), torch.tensor([0.5]))
        >>> halfway.take(slice(None)).tolist(), halfway.delta(slice(None)).tolist()
        ([[1.0, 2.0]], [[2.0, 2.0]])
    """

    fan: Fan
    row: Tensor
    start: Tensor
    t: Tensor

    def take(self, part: Part) -> Tensor:
        """(k, D) points; exactly x at t = 1 and exactly x' at t = 0."""
        start, stop = self.fan.baseline[self.start[part]], self.fan.input[self.row[part]]
        return start.lerp(stop, self.t[part, None].to(start.dtype))

    def delta(self, part: slice) -> Tensor:
        """(k, D), x − x' of their paths."""
        return self.fan.input[self.row[part]] - self.fan.baseline[self.start[part]]
