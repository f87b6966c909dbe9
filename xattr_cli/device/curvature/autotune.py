"""Which way to compute Hessian-vector products takes the least time on a network: found by trying."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import prod

import torch
from torch import Tensor

from ...errors import ModelError
from ..packing import is_out_of_memory
from ..scorer import Scorer
from .field import SecondOrder, products_of_call, score_at
from .hvp import WAYS, has_dead_end

__all__ = ["fastest_way"]

PLAINEST = "one_by_one"
FEWEST_LANES = 8
LONG_ENOUGH = 0.2  # seconds of a call
NO_GAIN = 0.9  # calls twice as large that save less than this per product need not grow on
REPETITIONS = 3
AGREEMENT = 1e-2
GAIN = 1.15
"""How many times faster than the first way another one must be: timings of a busy machine differ by less."""


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
    chosen, least = PLAINEST, torch.inf
    with scorer.exact_arithmetic():
        truth = trial.truth()
        for way in WAYS:
            seconds = trial.time(way, truth)
            if seconds is not None and seconds * GAIN < least:
                chosen, least = way, seconds
    return SecondOrder(chosen, scorer.packing.rows)


class _Trial:
    """Device calls of each way, on the same points and directions."""

    def __init__(
        self, scorer: Scorer, points: Tensor, context: Mapping[str, Tensor], target: Tensor, directions: int
    ) -> None:
        self.scorer, self.directions = scorer, directions
        self.points, self.context, self.target = points, context, target
        generator = torch.Generator().manual_seed(0)
        self.line = torch.randn(points.shape[1], generator=generator, dtype=torch.float64).to(points)

    def truth(self) -> Tensor:
        """(c, D) products of the plainest way at the first point.

        Raises:
            ModelError: the network has no second derivative.
        """
        try:
            if self._has_dead_end():
                raise RuntimeError("an operation of it can be differentiated only once")
            return self._run(PLAINEST, self._most_lanes(FEWEST_LANES))
        except RuntimeError as error:
            if is_out_of_memory(error):
                return self._run(PLAINEST, 1)
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(
                f"the network has no second derivative, which interactions are made of: {reason}."
            ) from error

    def time(self, way: str, truth: Tensor) -> float | None:
        """Seconds per product, in calls that grow for as long as that helps this way; None if it fails."""
        lanes, least = self._most_lanes(FEWEST_LANES), None
        try:
            if not self._agrees(self._run(way, lanes), truth):
                return None
            least = self._per_product(way, lanes)
            while lanes < self.scorer.packing.rows and least * self._products(way, lanes) < LONG_ENOUGH:
                lanes = self._most_lanes(2 * lanes)
                self._run(way, lanes)
                before, least = least, min(least, self._per_product(way, lanes))
                if least > NO_GAIN * before:
                    break
        except RuntimeError as error:
            return least if is_out_of_memory(error) else None
        return least

    def _most_lanes(self, directions: int) -> int:
        return min(directions, self.scorer.packing.rows)

    def _agrees(self, products: Tensor, truth: Tensor) -> bool:
        common = min(len(products), len(truth))
        tolerance = AGREEMENT * float(truth.nan_to_num(0.0).abs().max())
        return torch.allclose(products[:common], truth[:common], rtol=AGREEMENT, atol=tolerance, equal_nan=True)

    def _per_product(self, way: str, lanes: int) -> float:
        return min(self._seconds(way, lanes) for _ in range(REPETITIONS)) / self._products(way, lanes)

    def _seconds(self, way: str, lanes: int) -> float:
        began = time.perf_counter()
        self._run(way, lanes)
        return time.perf_counter() - began

    def _products(self, way: str, lanes: int) -> int:
        return prod(self._shape(way, lanes))

    def _shape(self, way: str, lanes: int) -> tuple[int, int]:
        # one after the other, a direction costs the same in any chunk
        directions = min(self.directions, FEWEST_LANES) if way == PLAINEST else self.directions
        rows, chunk = SecondOrder(way, lanes).shape(directions, len(self.line))
        return (self.scorer.packing.rows if self.scorer.packing.fixed else rows), chunk

    def _run(self, way: str, lanes: int) -> Tensor:
        """(c, D) products at the first point; of the first few directions only, by every way the same."""
        rows, chunk = self._shape(way, lanes)
        points, context, target = self._call(rows)
        lines = torch.stack([self.line.roll(shift) for shift in range(chunk)])
        chunks = iter([lines[:, None].expand(chunk, len(points), -1).contiguous()])
        found = products_of_call(self.scorer, way, points, chunks, context, target, len(points))
        products = next(found[2])[:FEWEST_LANES, 0]
        _wait(products)
        return products

    def _has_dead_end(self) -> bool:
        points, context, target = self._call(self.scorer.packing.rows if self.scorer.packing.fixed else 1)
        return has_dead_end(score_at(self.scorer, context, target), points)

    def _call(self, rows: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Points for one call: the first ones of the job, over and over."""
        repeated = torch.arange(rows, device=self.points.device) % len(self.points)
        return (
            self.points[repeated],
            {name: tensor[repeated] for name, tensor in self.context.items()},
            self.target[repeated],
        )


def _wait(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
