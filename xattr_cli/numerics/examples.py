"""A score whose derivatives are known: the network of this room's examples, and of whoever tries a new rule."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .interactions.grouping import DisplacedPoints, Forms, Grouping
from .paths.field import Cells, Chains, Evaluation, PlainPoints, Points

__all__ = ["ProductField"]

_ALL = slice(None)


class ProductField:
    """f(x) = Π x_i, a field of scores, gradients, secants and second derivatives in closed form.

    Example:
        >>> from xattr_cli.numerics.paths.straight import StraightPath
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> end = path.at(torch.tensor([0]), torch.tensor([1.0]))
        >>> [(found.values.tolist(), found.gradients.tolist()) for found in ProductField().gradients(end)]
        [([6.0], [[3.0, 2.0]])]
    """

    def values(self, points: PlainPoints, place: Tensor | None = None) -> Tensor:
        """(points,) scores."""
        return points.take(_ALL).prod(dim=1)

    def gradients(self, points: Points) -> Iterator[Evaluation]:
        """All points at once."""
        yield Evaluation(_ALL, self.values(points), self._derivative(points.take(_ALL)))

    def cells(self, chains: Chains) -> Iterator[Cells]:
        """All cells at once: factor by factor from the left point to the right one, averaged with the way back."""
        begins = (~chains.last).nonzero()[:, 0]
        alike = 1 if chains.place is None else torch.bincount(chains.place)[chains.place[begins]]
        left, right = chains.take(begins), chains.take(begins + alike)
        gradients = (_telescoped(left, right) + _telescoped(right, left)) / 2
        exact = torch.full_like(begins, left.shape[1] <= 2, dtype=torch.bool)  # gradients that are linear
        yield Cells(begins, left.prod(dim=1), right.prod(dim=1), gradients, exact)

    def forms(self, points: DisplacedPoints, groups: Grouping) -> Iterator[Forms]:
        """All points at once."""
        at, delta = points.take(_ALL), points.delta(_ALL)
        directions = groups.directions(delta, points.row, _ALL)
        products = torch.stack([self._second(at, along) for along in directions])
        yield Forms(
            _ALL,
            self.values(points),
            self._derivative(at),
            groups.project(delta, points.row, products),
        )

    def _derivative(self, at: Tensor) -> Tensor:
        return torch.stack([_without(at, (i,)).prod(dim=1) for i in range(at.shape[1])], dim=1)

    def _second(self, at: Tensor, along: Tensor) -> Tensor:
        """(k, D), H·v."""
        columns = range(at.shape[1])
        return torch.stack(
            [
                sum(
                    (_without(at, (i, j)).prod(dim=1) * along[:, j] for j in columns if j != i),
                    at.new_zeros(len(at)),
                )
                for i in columns
            ],
            dim=1,
        )


def _telescoped(start: Tensor, stop: Tensor) -> Tensor:
    """(k, D), of the product: factors change one by one, those before at the stop, those after at the start."""
    columns = range(start.shape[1])
    return torch.stack([stop[:, :i].prod(dim=1) * start[:, i + 1 :].prod(dim=1) for i in columns], dim=1)


def _without(at: Tensor, left_out: tuple[int, ...]) -> Tensor:
    return at[:, [i for i in range(at.shape[1]) if i not in left_out]]
