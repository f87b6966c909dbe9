"""Second derivatives of a score at any points, of any mix of rows, packed into device calls."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeVar

import torch
from torch import Tensor

from ..errors import ModelError, RunError
from ..numerics.grouping import DisplacedPoints, Forms, Grouping
from .hessian_products import WAYS, Products, Score, has_dead_end
from .packing import Packing, is_out_of_memory
from .scorer import Rows, Scorer
from .scores import scores_of

__all__ = ["CurvedField", "SecondOrder", "fastest_way", "hessian_vector_products"]

_LOG = logging.getLogger(__name__)

# Every direction carries about as much through the network as a row does, and the gradient's graph holds
# the activations twice.
LANES_PER_ROW = 1 / 2
FEWEST_POINTS = 4  # calls of fewer rows round otherwise, see `packing`
REPETITIONS = 3
AGREEMENT = 1e-2
MOST_NUMBERS = 2**24  # in the matrices of one call
GAIN = 1.15
"""How many times faster than the first way another one must be: timings of a busy machine differ by less."""

Result = TypeVar("Result")


@dataclass
class SecondOrder:
    """How second derivatives of a network are computed.

    Attributes:
        way: name of one of `hessian_products.WAYS`.
        lanes: directions times points of one device call; halved when memory runs out.
    """

    way: str
    lanes: int

    def shape(self, directions: int, columns: int) -> tuple[int, int]:
        """Points and directions of one call, where each point has a matrix of `directions` by `columns`."""
        most = max(1, min(directions, self.lanes // FEWEST_POINTS))
        chunk = -(-directions // -(-directions // most))
        points = self.lanes if self.way == "one_by_one" else self.lanes // chunk
        points = max(1, min(points, MOST_NUMBERS // (directions * columns)))
        return 1 << (points.bit_length() - 1), chunk


@dataclass(frozen=True)
class CurvedField:
    """Scores and second derivatives at points that belong to rows of a block; a `numerics.grouping.HessianField`.

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
            values, gradients, products = _products(
                self.scorer, self.how.way, points.take(part), chunks, context, self.rows.target[row], rows
            )
            forms = [groups.project(delta, row, found) for found in products]
            return Forms(part, values, gradients, forms[0] if len(forms) == 1 else torch.cat(forms, dim=1))

        return call


def hessian_vector_products(
    scorer: Scorer,
    how: SecondOrder,
    points: Tensor,
    directions: Tensor,
    context: Mapping[str, Tensor],
    target: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, gradients and products H v at any number of points.

    Arguments:
        scorer: the network.
        how: settled for it.
        points, context: (n, D) points and what goes with them.
        directions: (n, R, D).
        target: (n,) output that is differentiated at each point.

    Returns:
        (n,), (n, D) and (n, R, D).
    """

    def call(part: slice, rows: int, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
        chunks = torch.split(directions[part].transpose(0, 1), chunk)
        here = {name: tensor[part] for name, tensor in context.items()}
        found = _products(scorer, how.way, points[part], iter(chunks), here, target[part], rows)
        return found[0], found[1], torch.cat(list(found[2])).transpose(0, 1)

    with scorer.exact_arithmetic():
        pieces = list(_packed(scorer, how, len(points), directions.shape[1:], call))
    values, gradients, products = zip(*pieces, strict=True)
    return torch.cat(values), torch.cat(gradients), torch.cat(products)


def fastest_way(
    scorer: Scorer,
    points: Tensor,
    context: Mapping[str, Tensor],
    target: Tensor,
    directions: int,
) -> SecondOrder:
    """The way that takes the least time on some points, among those that agree with the plainest one.

    Arguments:
        scorer: the network.
        points, context, target: (n, D) first points of the job and what goes with them.
        directions: that each point will want.

    Raises:
        ModelError: the network has no second derivative.
    """
    trial = _Trial(scorer, points, context, target, directions)
    with scorer.exact_arithmetic():
        lanes, truth = trial.truth(max(1, int(scorer.packing.rows * LANES_PER_ROW)))
        chosen, least = "one_by_one", torch.inf
        for way in WAYS:
            seconds = trial.time(SecondOrder(way, lanes), truth)
            if seconds is not None and seconds * GAIN < least:
                chosen, least = way, seconds
    return SecondOrder(chosen, lanes)


class _Trial:
    """One device call of each way, on the same points and directions."""

    def __init__(
        self, scorer: Scorer, points: Tensor, context: Mapping[str, Tensor], target: Tensor, directions: int
    ) -> None:
        self.scorer, self.directions = scorer, directions
        self.points, self.context, self.target = points, context, target
        generator = torch.Generator().manual_seed(0)
        self.line = torch.randn(points.shape[1], generator=generator, dtype=torch.float64).to(points)

    def truth(self, lanes: int) -> tuple[int, Tensor]:
        """How many lanes memory allows, and (c, D) products of the plainest way at the first point.

        Raises:
            ModelError: the network has no second derivative.
        """
        try:
            products = self._run(SecondOrder("one_by_one", lanes))
            if self._has_dead_end():
                raise RuntimeError("an operation of it can be differentiated only once")
        except RuntimeError as error:
            if not is_out_of_memory(error):
                reason = str(error).strip().partition("\n")[0]
                raise ModelError(
                    f"the network has no second derivative, which interactions are made of: {reason}."
                ) from error
            if lanes == 1:
                raise
        else:
            return lanes, products
        return self.truth(lanes // 2)

    def time(self, how: SecondOrder, truth: Tensor) -> float | None:
        """Seconds per product; None if this way fails, or finds something else than `truth`."""
        try:
            products = self._run(how)
            seconds = min(self._seconds(how) for _ in range(REPETITIONS))
        except RuntimeError:
            return None
        tolerance = AGREEMENT * float(truth.nan_to_num(0.0).abs().max())
        agrees = torch.allclose(products, truth, rtol=AGREEMENT, atol=tolerance, equal_nan=True)
        return seconds / prod(how.shape(self.directions, len(self.line))) if agrees else None

    def _seconds(self, how: SecondOrder) -> float:
        began = time.perf_counter()
        self._run(how)
        return time.perf_counter() - began

    def _run(self, how: SecondOrder) -> Tensor:
        """(c, D) products at the first point."""
        rows, chunk = how.shape(self.directions, len(self.line))
        points, context, target = self._call(rows)
        lines = torch.stack([self.line.roll(shift) for shift in range(chunk)])
        chunks = iter([lines[:, None].expand(chunk, len(points), -1).contiguous()])
        found = _products(self.scorer, how.way, points, chunks, context, target, len(points))
        products = next(found[2])[:, 0]
        _wait(products)
        return products

    def _has_dead_end(self) -> bool:
        points, context, target = self._call(1)
        return has_dead_end(_score(self.scorer, context, target), points)

    def _call(self, rows: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Points for one call: the first ones of the job, over and over."""
        rows = self.scorer.packing.rows if self.scorer.packing.fixed else rows
        place = torch.arange(rows, device=self.points.device) % len(self.points)
        return (
            self.points[place],
            {name: tensor[place] for name, tensor in self.context.items()},
            self.target[place],
        )


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)


def _products(
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
    score = _score(scorer, filling, torch.cat([target, target[-1:].expand(missing)]))
    padded = (torch.nn.functional.pad(one, (0, 0, 0, missing)) for one in chunks)
    values, gradients, products = WAYS[way](score, filled, padded)
    return values[:count], gradients[:count], (found[:, :count] for found in products)


def _score(scorer: Scorer, context: Mapping[str, Tensor], target: Tensor) -> Score:
    """The score of each point's own target, as it stands in the graph."""

    def score(points: Tensor) -> Tensor:
        return scores_of(scorer.outputs(points, context), scorer.score).gather(1, target[:, None])[:, 0]

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
            for stop, found in packing.run(count - done, next_call):
                yield found
                done = stop
        except RunError as error:
            if chunk == 1:
                raise
            _LOG.warning("%s Going on with half as many directions.", error)
            how.lanes = max(1, how.lanes // 2)
        if packing.rows < points:
            how.lanes = max(1, packing.rows * chunk)
