"""Where the gradients on a path come from: a network, or a store of what it once said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from scripts.benchmarks.photo_reference import INTERVALS
from xattr_cli.numerics.paths.field import Evaluation, Field, PlainPoints, Points
from xattr_cli.numerics.paths.straight import PathPoints

__all__ = ["NetworkField", "SomeRows", "StoredField"]

POINTS_PER_CALL = 1024


@dataclass(frozen=True)
class SomeRows:
    """Some rows of a field, numbered anew."""

    field: Field
    rows: Tensor

    def gradients(self, points: PathPoints) -> Iterator[Evaluation]:
        return self.field.gradients(self._renumbered(points))

    def values(self, points: PathPoints, place: Tensor | None = None) -> Tensor:
        return self.field.values(self._renumbered(points), place)

    def _renumbered(self, points: PathPoints) -> Points:
        return _Renumbered(points, self.rows[points.row])


@dataclass(frozen=True)
class _Renumbered:
    points: PathPoints
    row: Tensor
    place: Tensor | None = None

    @property
    def t(self) -> Tensor:
        return self.points.t

    def take(self, part: slice | Tensor) -> Tensor:
        return self.points.take(part)


@dataclass(frozen=True)
class NetworkField:
    """Scores of the predicted classes of rows.

    Attributes:
        network: frozen.
        inputs: (rows, *shape).
        extra: what the network takes beside them, one each per row.
    """

    network: nn.Module
    inputs: Tensor
    extra: tuple[Tensor, ...] = ()

    @cached_property
    def target(self) -> Tensor:
        with torch.no_grad():
            return self.network(self.inputs, *self.extra).argmax(dim=1)

    def gradients(self, points: Points) -> Iterator[Evaluation]:
        for begin in range(0, len(points.row), POINTS_PER_CALL):
            part = slice(begin, min(begin + POINTS_PER_CALL, len(points.row)))
            inputs = points.take(part).requires_grad_()
            values = self._scores(inputs, points.row[part])
            (gradients,) = torch.autograd.grad(values.sum(), inputs)
            yield Evaluation(part, values.detach(), gradients)

    def values(self, points: PlainPoints, place: Tensor | None = None) -> Tensor:
        with torch.no_grad():
            return self._scores(points.take(slice(None)), points.row)

    def _scores(self, inputs: Tensor, row: Tensor) -> Tensor:
        scores = self.network(inputs.view(-1, *self.inputs.shape[1:]), *(each[row] for each in self.extra))
        return scores.gather(1, self.target[row][:, None])[:, 0]


@dataclass(frozen=True)
class StoredField:
    """Sketches of Δ ⊙ ∇f at the nodes t = (k / 1024)²; any other t is taken for the nearest of them.

    The score is the sum of a sketch's integral, so that a map of sketches has a completeness gap as others have.

    Attributes:
        sketches: (rows, 1025, s).
    """

    sketches: np.ndarray

    @cached_property
    def scores(self) -> Tensor:
        sums = torch.tensor(np.stack([row.sum(axis=1, dtype=np.float64) for row in self.sketches]))
        integrand = sums * 2 * torch.linspace(0, 1, INTERVALS + 1, dtype=torch.float64)
        steps = (integrand[:, 1:] + integrand[:, :-1]) / 2 / INTERVALS
        return torch.nn.functional.pad(steps.cumsum(dim=1), (1, 0)).float()

    def gradients(self, points: PathPoints) -> Iterator[Evaluation]:
        node = _nearest(points.t)
        for part in torch.arange(len(node)).split(POINTS_PER_CALL):
            row = points.row[part]
            found = torch.from_numpy(self.sketches[row.numpy(), node[part].numpy()])
            yield Evaluation(part, self.scores[row, node[part]], found)

    def values(self, points: PathPoints, place: Tensor | None = None) -> Tensor:
        return self.scores[points.row, _nearest(points.t)]


def _nearest(t: Tensor) -> Tensor:
    return (t.double().sqrt() * INTERVALS).round().long()
