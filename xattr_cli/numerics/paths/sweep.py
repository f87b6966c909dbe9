"""Sweeps over the paths of a block, whatever the rule of integration: every row stops alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...samples import Status
from .straight import StraightPath

__all__ = ["Integrator", "PathIntegral", "PathPass", "sweep"]


@dataclass(frozen=True)
class PathIntegral:
    """What a sweep over the paths of a block found.

    Attributes:
        running: (rows, marks, D), ∫₀^α ∇f(γ(t)) dt up to each mark α; the last mark is 1.
        relative_error: (rows,) float64, reported bound on ‖Δ ⊙ (result − truth)‖ / ‖Δ ⊙ result‖.
        score_input, score_baseline: (rows,) f(x) and f(x').
        evaluations: (rows,) int64, gradients along the path and scores of its ends.
        status: (rows,) int8, of `Status`.

    Example:
        >>> running = torch.tensor([[[1.0], [4.0]], [[2.0], [6.0]]])  # up to the marks 0.5 and 1
        >>> error, score = torch.tensor([0.04, 0.2]), torch.zeros(2)
        >>> status = torch.tensor([Status.NOT_CONVERGED] * 2, dtype=torch.int8)
        >>> found = PathIntegral(running, error, score, score, torch.tensor([8, 8]), status)
        >>> found.mean_gradient.tolist()
        [[4.0], [6.0]]
        >>> (found.judged_by(0.05) == Status.CONVERGED).tolist()
        [True, False]
    """

    running: Tensor
    relative_error: Tensor
    score_input: Tensor
    score_baseline: Tensor
    evaluations: Tensor
    status: Tensor

    @property
    def mean_gradient(self) -> Tensor:
        """∫₀¹ ∇f(γ(t)) dt, (rows, D)."""
        return self.running[:, -1]

    def judged_by(self, rtol: float) -> Tensor:
        """(rows,) status for somebody who asked for less accuracy than the sweep was made with."""
        good = self.relative_error <= rtol
        return torch.where(good, Status.CONVERGED, self.status).to(torch.int8)


@dataclass(frozen=True)
class PathPass:
    """What a rule makes of the rows still open, after one more pass over their paths.

    Attributes:
        running: (open, marks, D), as in `PathIntegral`.
        relative_error: (open,) float64, reported.
        score_input, score_baseline: (open,) f(x) and f(x').
        evaluations: (open,) int64, that this pass took.
        exhausted: (open,) bool, another pass is not allowed, or would be in vain.
        doubt: (open,) float64, how many times the reported error has to keep below the tolerance while another
            pass is allowed; None for once.

    Example:
        >>> one = torch.ones(1)
        >>> found = PathPass(one[:, None, None], one.double(), one, 0 * one, one.long(), exhausted=one > 0)
        >>> found.running.shape  # one row, one mark, one feature
        torch.Size([1, 1, 1])
    """

    running: Tensor
    relative_error: Tensor
    score_input: Tensor
    score_baseline: Tensor
    evaluations: Tensor
    exhausted: Tensor
    doubt: Tensor | None = None


class Integrator(Protocol):
    """A rule of integration at work on a block: its nodes, its sums, where it refines, and its error bar.

    It remembers what it needs of the rows still open, in their order. Every row has to be good enough or
    exhausted after finitely many passes.
    """

    @property
    def rtol(self) -> float:
        """Relative error at which a row stops."""

    @property
    def marks(self) -> int:
        """Number of running integrals."""

    def advance(self, rows: Tensor) -> PathPass:
        """One pass over the paths of the open rows (open,) int64; the first one is over all rows."""

    def keep(self, remaining: Tensor) -> None:
        """Forget the rows that are done; `remaining` (open,) bool."""


def sweep(integrator: Integrator, path: StraightPath) -> PathIntegral:
    """∫₀¹ ∇f(γ(t)) dt for every row of a block, by any rule, pass by pass until each row is done.

    Rows of which a number is not finite are quarantined.

    Arguments:
        integrator: a rule that has not begun.
        path: of every row.

    Example:
        The midpoint rule, which is exact for a quadratic score:

        >>> class Middle:
        ...     rtol, marks = 0.1, 1
        ...     def advance(self, rows):
        ...         x = path.at(rows, torch.full((len(rows),), 0.5)).take(slice(None))
        ...         score, exact = 4 * x[:, 0] ** 2, torch.zeros(len(rows), dtype=torch.float64)
        ...         return PathPass(2 * x[:, None], exact, score, 0 * score, torch.ones_like(rows), exact == 0)
        ...     def keep(self, remaining):
        ...         pass
        >>> path = StraightPath(torch.zeros(1, 1), torch.tensor([[3.0]]))
        >>> found = sweep(Middle(), path)  # of f(x) = x²
        >>> (found.mean_gradient * path.delta).tolist(), found.status.tolist() == [Status.CONVERGED]
        ([[9.0]], True)
    """
    result = _nothing_yet(path, integrator.marks)
    rows = torch.arange(len(path.input), device=path.input.device)
    while rows.numel():
        remaining = _close(result, rows, integrator.advance(rows), integrator.rtol)
        if not remaining.all():
            integrator.keep(remaining)
            rows = rows[remaining]
    return result


def _nothing_yet(path: StraightPath, marks: int) -> PathIntegral:
    rows, dim = path.input.shape
    unknown = path.delta.new_full((rows,), torch.nan)
    return PathIntegral(
        running=path.delta.new_full((rows, marks, dim), torch.nan),
        relative_error=unknown.to(torch.float64, copy=True),  # memory of its own, whatever the precision
        score_input=unknown,
        score_baseline=unknown.clone(),
        evaluations=torch.zeros(rows, dtype=torch.int64, device=unknown.device),
        status=torch.full((rows,), Status.QUARANTINED, dtype=torch.int8, device=unknown.device),
    )


def _close(result: PathIntegral, rows: Tensor, closed: PathPass, rtol: float) -> Tensor:
    """Write down the rows that are done; (open,) bool, those that are not."""
    result.evaluations[rows] += closed.evaluations
    result.score_input[rows], result.score_baseline[rows] = closed.score_input, closed.score_baseline
    finite = torch.isfinite(closed.running).all(dim=(1, 2))
    finite &= torch.isfinite(closed.score_input + closed.score_baseline)
    converged = finite & (closed.relative_error <= rtol)
    sure = converged if closed.doubt is None else converged & (closed.relative_error * closed.doubt <= rtol)
    # a rule that refines nothing now, as where squares of huge gradients overflow, will not do so later either
    done = sure | (finite & (closed.exhausted | (closed.evaluations == 0)))
    closing = rows[done]
    result.running[closing] = closed.running[done]
    result.relative_error[closing] = closed.relative_error[done].nan_to_num(nan=torch.inf, posinf=torch.inf)
    status = torch.where(converged, Status.CONVERGED, Status.NOT_CONVERGED)
    result.status[closing] = status[done].to(torch.int8)
    return finite & ~done
