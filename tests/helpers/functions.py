"""A plain function as a field: no network, no device."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from xattr_cli.numerics.paths.field import Evaluation, PlainPoints, Points


class Function:
    """The field of a function (n, D) → (n,), as autograd sees it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def gradients(self, points: Points) -> Iterator[Evaluation]:
        x = points.take(slice(0, len(points.row))).requires_grad_()
        values = self.function(x)
        (gradients,) = torch.autograd.grad(values.sum(), x)
        yield Evaluation(slice(0, len(x)), values.detach(), gradients)

    def values(self, points: PlainPoints, place: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            return self.function(points.take(slice(0, len(points.row))))
