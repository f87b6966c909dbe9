"""The integrator of the package on the paths of the benchmark, as it is and altered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from scripts.benchmarks.node_paths import Paths
from scripts.benchmarks.node_rows import Stopped
from scripts.benchmarks.node_rules import Placement, Rule
from xattr_cli.engines.path.integrated_gradients import FIRST_INTERVALS, IntegratedGradients
from xattr_cli.numerics.paths import integrate as integrator
from xattr_cli.numerics.paths import panels
from xattr_cli.numerics.paths.field import Evaluation, Field
from xattr_cli.numerics.paths.integrate import integrate
from xattr_cli.numerics.paths.quadrature import AdaptiveRule
from xattr_cli.numerics.paths.straight import PathPoints, StraightPath

__all__ = ["Panelled", "panels_with"]

MAX_NODES = 1024


@dataclass(frozen=True)
class Panelled:
    """The integrator of the package, as it is or altered.

    Attributes:
        intervals: of the first level.
        warp: p of t = u^p.
        share: of the squared error, held by the panels whose cells are halved in one step; 0: one panel, 1: as
            many as should be enough; None: as the package does.
        panels: as many as there are intervals, of which the package allows fewer; None: as the package does.
        fitted: a rule whose nodes, in place of those of the warp, are at equal distances in u.
    """

    intervals: int = FIRST_INTERVALS
    warp: float = IntegratedGradients().warp
    share: float | None = None
    panels: int | None = None
    fitted: Placement | None = None

    def run(self, paths: Paths, rtol: float) -> Stopped:
        """Stop every row by its own word."""
        rule = AdaptiveRule(rtol=rtol, max_nodes=MAX_NODES, intervals=self.intervals, warp=self.warp)
        along = None if self.fitted is None else _Fitted(paths.field, self.fitted(paths, FINE), paths.path)
        with _altered(self.share, self.panels):
            if along is None:
                found = integrate(paths.field, paths.path, rule, smooth=paths.smooth)
                maps = found.mean_gradient * paths.path.delta
            else:
                found = integrate(along, along.path, rule, smooth=paths.smooth)
                maps = found.mean_gradient[:, :-1] / found.mean_gradient[:, -1:] * paths.path.delta
        # one of a row's evaluations is the score of the baseline
        return Stopped((found.evaluations - 1).double(), found.relative_error, paths.error(maps))


@contextmanager
def _altered(share: float | None, count: int | None) -> Iterator[None]:
    """The package with another way of choosing panels, and more of them."""
    before = integrator.panels_to_refine, panels.MOST_PANELS
    if share is not None:
        integrator.panels_to_refine = partial(panels_with, share)
    if count is not None:
        panels.MOST_PANELS = count
    try:
        yield
    finally:
        integrator.panels_to_refine, panels.MOST_PANELS = before


def panels_with(most: float, squares: Tensor, cells: Tensor, share: Tensor, budget: Tensor) -> Tensor:
    """Panels, best first, that hold `most` of the squared error, or fewer if the error falls to `share` of itself.

    The other arguments are those of `panels_to_refine`.
    """
    chosen = torch.zeros_like(cells, dtype=torch.bool)
    left, total = budget.clone(), squares.sum(dim=1)
    wanted = ((1 - share.square()) * 4 / 3).clamp(max=most) * total
    held, row = torch.zeros_like(total), torch.arange(len(cells))
    for _ in range(cells.shape[1]):
        possible = ~chosen & (cells <= left[:, None])
        best = (squares / cells).masked_fill(~possible, -1).argmax(dim=1)
        new = possible[row, best] & (held <= wanted)
        chosen[row, best] |= new
        held = held + new * squares[row, best]
        left = left - new * cells[row, best]
    return chosen


FINE = 1024
"""Cells of a fitted coordinate, within each of which it is straight."""
TINY = 1e-9


class _Fitted:
    """A field along a path coordinate t = φ(u) that is read off the weights of a rule: ∫ φ'(u) ∇f(φ(u)) du.

    A last feature, too small to count, has gradient φ'(u): what is wrong with its integral is known, and divided
    out of the others.
    """

    def __init__(self, inner: Field, rule: Rule, path: StraightPath) -> None:
        self.inner, self.inner_path = inner, path
        one = torch.full((len(path.delta), 1), TINY)
        start, stop = (
            torch.cat([end, share * one], dim=1) for share, end in enumerate((path.baseline, path.input))
        )
        self.path = StraightPath(start, stop)
        widths = rule.weights[0].numpy()
        self._edges = np.concatenate([[0.0], np.cumsum(widths)])
        self._even = np.linspace(0, 1, len(self._edges))
        self._density = widths * len(widths)

    def gradients(self, points: PathPoints) -> Iterator[Evaluation]:
        u = points.t.numpy()
        density = torch.from_numpy(np.interp(u, (self._even[1:] + self._even[:-1]) / 2, self._density))
        t = torch.from_numpy(np.interp(u, self._even, self._edges)).clamp(0, 1).to(points.t)
        for some in self.inner.gradients(self.inner_path.at(points.row, t)):
            weight = density[some.part].to(some.gradients)[:, None]
            yield Evaluation(some.part, some.values, torch.cat([some.gradients * weight, weight], dim=1))

    def values(self, points: PathPoints, place: Tensor | None = None) -> Tensor:
        # of the ends alone, which stay where they are
        at_input = (points.path.input[points.row] - points.path.baseline[points.row])[:, -1] > 0
        return self.inner.values(self.inner_path.at(points.row, at_input.float() * points.t))
