"""Second derivatives of a score at any points, of any mix of rows, packed into device calls."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ...errors import RunError
from ...numerics.interactions.grouping import DisplacedPoints, Forms, Grouping
from ..packing import Packing
from ..scorer import Rows, Scorer
from .hvp import WAYS, Products, Score

__all__ = ["CurvedField", "SecondOrder", "products_of_call", "score_at"]

_LOG = logging.getLogger(__name__)

FEWEST_POINTS = 4  # calls of fewer rows round otherwise, see `packing`
MOST_NUMBERS = 2**24  # in the matrices of one call

Result = TypeVar("Result")


@dataclass
class SecondOrder:
    """How second derivatives of a network are computed.

    Attributes:
        way: name of one of `hvp.WAYS`.
        lanes: directions times points of one device call: at first as many as rows in one of first order, since
            a direction carries through the network what a row does; halved when memory runs out.
    """

    way: str
    lanes: int

    def follow(self, way: str, lanes: int) -> None:
        """Go on as an earlier run has settled."""
        self.way, self.lanes = way, lanes

    def halve(self) -> None:
        """Take half as many directions at once: memory has run out."""
        self.lanes = max(1, self.lanes // 2)

    def shape(self, directions: int, columns: int) -> tuple[int, int]:
        """Points and directions of one call, where each point has a matrix of `directions` by `columns`."""
        most = max(1, min(directions, self.lanes // FEWEST_POINTS))
        chunk = -(-directions // -(-directions // most))
        points = self.lanes if self.way == "one_by_one" else self.lanes // chunk
        points = max(1, min(points, MOST_NUMBERS // (directions * columns)))
        return 1 << (points.bit_length() - 1), chunk


@dataclass(frozen=True)
class CurvedField:
    """Scores and second derivatives at points that belong to rows of a block, as a
    `numerics.interactions.grouping.HessianField`.

    Attributes:
        scorer: the network.
        rows: the block.
        how: settled for this network.
    """

    scorer: Scorer
    rows: Rows
    how: SecondOrder

    def forms(self, points: DisplacedPoints, groups: Grouping) -> Iterator[Forms]:
        """Evaluate all points, in order, one device call at a time; out of memory repeats a call in halves."""
        shape = len(groups.chosen), groups.count
        with self.scorer.exact_arithmetic():
            yield from _packed(self.scorer, self.how, len(points.row), shape, self._call(points, groups))

    def values(self, points: DisplacedPoints) -> Tensor:
        """(points,) scores of each point's own target."""
        return self.scorer.field(self.rows).values(points)

    def _call(self, points: DisplacedPoints, groups: Grouping) -> Callable[[slice, int, int], Forms]:
        def call(part: slice, rows: int, chunk: int) -> Forms:
            row, delta = points.row[part], points.delta(part)
            parts = [slice(start, start + chunk) for start in range(0, len(groups.chosen), chunk)]
            chunks = (groups.directions(delta, row, some) for some in parts)
            context = {name: tensor[row] for name, tensor in self.rows.context.items()}
            values, gradients, products = products_of_call(
                self.scorer, self.how.way, points.take(part), chunks, context, self.rows.target[row], rows
            )
            forms = [groups.project(delta, row, product) for product in products]
            return Forms(part, values, gradients, forms[0] if len(forms) == 1 else torch.cat(forms, dim=1))

        return call


def products_of_call(
    scorer: Scorer,
    way: str,
    points: Tensor,
    chunks: Iterator[Tensor],
    context: Mapping[str, Tensor],
    target: Tensor,
    rows: int,
) -> Products:
    """Scores, gradients and products of one call, filled up to `rows` points."""
    scorer.interrupt()
    count, missing = len(points), rows - len(points)
    filled, filling = scorer.fill(points, context, rows)
    score = score_at(scorer, filling, torch.cat([target, target[-1:].expand(missing)]))
    padded = (torch.nn.functional.pad(chunk, (0, 0, 0, missing)) for chunk in chunks)
    values, gradients, products = WAYS[way](score, filled, padded)
    return values[:count], gradients[:count], (product[:, :count] for product in products)


def score_at(scorer: Scorer, context: Mapping[str, Tensor], target: Tensor) -> Score:
    """The score of each point's own target, as it stands in the graph."""

    def score(points: Tensor) -> Tensor:
        return scorer.graded(points, context).gather(1, target[:, None])[:, 0]

    return score


def _packed(
    scorer: Scorer, how: SecondOrder, count: int, shape: tuple[int, ...], call: Callable[[slice, int, int], Result]
) -> Iterator[Result]:
    """`call(part, rows, chunk)` for consecutive parts of `count` points; fewer lanes once memory has run out."""
    done = 0
    while done < count:
        points, chunk = how.shape(*shape)
        packing = Packing(scorer.packing.rows if scorer.packing.fixed else points, fixed=scorer.packing.fixed)

        def next_call(part: slice, rows: int, first: int = done, chunk: int = chunk) -> tuple[int, Result]:
            here = slice(part.start + first, part.stop + first)
            return here.stop, call(here, rows, chunk)

        try:
            for stop, evaluated in packing.run(count - done, next_call):
                yield evaluated
                done = stop
        except RunError as error:
            if chunk == 1:
                raise
            _LOG.warning("%s Going on with half as many directions.", error)
            how.halve()
        if packing.rows < points:
            how.follow(how.way, max(1, packing.rows * chunk))
