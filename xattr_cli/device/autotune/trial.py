"""A trial of one way to run a network: the gradients of a few rows along their paths, and how long one takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..execution.runner import Execution
from ..scorer import Scorer
from .workload import NODES

__all__ = ["Trial", "TrialOutcome"]

WARM_UPS = {False: 1, True: 3}  # what is compiled may be recorded in the second call, and played from the third
WORTH_TIMING = 0.01
MOST_CALLS = 8
"""Calls are timed until they took so many seconds, but no more of them: a single short one tells little."""
COMPILING = 2000
"""Device calls that torch.compile takes the time of, roughly."""


@dataclass(frozen=True)
class TrialOutcome:
    """What a trial has found.

    Attributes:
        gradients: (NODES, n, D) float64 at the nodes of the midpoint rule; their sum is the map.
        seconds: that a gradient takes in a full call; None if the calls that found the gradients do not tell.
    """

    gradients: Tensor
    seconds: float | None


class Trial:
    """The first rows of a job at the nodes of a midpoint rule, packed as the job's own points are.

    Arguments:
        scorer: the network.
        inputs, baselines: (n, D).
        context, target: of these rows.
    """

    def __init__(
        self, scorer: Scorer, inputs: Tensor, baselines: Tensor, context: Mapping[str, Tensor], target: Tensor
    ) -> None:
        self._scorer, self._delta = scorer, inputs - baselines
        t = (torch.arange(NODES, device=inputs.device).to(inputs) + 0.5) / NODES
        self._points = (baselines + t[:, None, None] * self._delta).flatten(0, 1)
        self._row = torch.arange(len(inputs), device=inputs.device).repeat(NODES)
        self._context, self._target = context, target
        packing = scorer.packing
        self._full = packing.rows
        self._size = packing.rows if packing.fixed else min(packing.rows, len(self._points))

    @property
    def _calls(self) -> int:
        return -(-len(self._points) // self._size)

    def _tells(self, how: Execution) -> bool:
        """Whether the calls that find the gradients are full ones, and enough of them to be timed."""
        return self._size == self._full and self._calls > WARM_UPS[how.compiled]

    @property
    def least_cost(self) -> int:
        """Of a run, in gradients."""
        return self._calls * self._size

    def cost(self, how: Execution) -> int:
        """Of a run and of the time of a gradient, in gradients."""
        more = 0 if self._tells(how) else WARM_UPS[how.compiled] + 1
        return self.least_cost + (more + COMPILING * how.compiled) * self._full

    def run(self, how: Execution) -> TrialOutcome:
        """Run the network in one way.

        Raises:
            Exception: whatever a backend raises that is not for this network.
        """
        scorer, results, times = self._run_in(how), [], []
        for part in torch.split(torch.arange(len(self._points)), self._size):
            gradients, duration = self._call(scorer, part, self._size)
            results.append(gradients.double())
            times.append(duration)
        seconds = min(times[WARM_UPS[how.compiled] :]) / self._full if self._tells(how) else None
        return TrialOutcome(torch.cat(results).view(NODES, *self._delta.shape) * self._delta / NODES, seconds)

    def seconds(self, how: Execution) -> float:
        """That a gradient takes in full calls of their own.

        Raises:
            Exception: as `run`.
        """
        scorer, first = self._run_in(how), torch.arange(min(self._full, len(self._points)))
        for _ in range(WARM_UPS[how.compiled]):
            self._call(scorer, first, self._full)
        times = [self._call(scorer, first, self._full)[1]]
        while sum(times) < WORTH_TIMING and len(times) < MOST_CALLS:
            times.append(self._call(scorer, first, self._full)[1])
        return min(times) / self._full

    def _run_in(self, how: Execution) -> Scorer:
        return replace(self._scorer, execution=how)

    def _call(self, scorer: Scorer, part: Tensor, rows: int) -> tuple[Tensor, float]:
        """Gradients (k, D) at some of the points, and the wall time of the call."""
        row = self._row[part.to(self._row.device)]
        context = {name: tensor[row] for name, tensor in self._context.items()}
        began = time.perf_counter()
        with scorer.exact_arithmetic():
            points = self._points[part.to(self._points.device)]
            ((_, gradients),) = scorer.gradients_of_call(points, context, [self._target[row]], rows)
        if gradients.device.type == "cuda":
            torch.cuda.synchronize(gradients.device)
        return gradients, time.perf_counter() - began
