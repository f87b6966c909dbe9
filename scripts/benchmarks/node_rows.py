"""Rules by which every row stops alone: ever finer levels of a rule, and cells halved where it pays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from scripts.benchmarks.node_paths import Paths
from scripts.benchmarks.node_rules import Bar, Placement, Rule, reported_error

__all__ = ["Cells", "Levels", "Stopped"]

MAX_NODES = 1024
MOST_CELLS = 256


@dataclass(frozen=True)
class Stopped:
    """Where rows have stopped, each (rows,).

    Attributes:
        gradients: taken.
        reported, true: relative errors.
    """

    gradients: Tensor
    reported: Tensor
    true: Tensor


# --- levels ----------------------------------------------------------------------------------------


@dataclass
class Levels:
    """The same rule with ever more nodes; nodes of earlier levels are paid for, and used again where they recur.

    Attributes:
        rule: of a size.
        sizes: of the levels.
        bar: by which a row stops.
        jump: go to the level at which the error, falling like 1 / size, should be small enough.
    """

    rule: Placement
    sizes: Sequence[int]
    bar: Bar
    jump: bool = False
    _known: dict[str, list[_Level]] = field(default_factory=dict)

    def run(self, paths: Paths, rtol: float) -> Stopped:
        """Stop every row by its own word."""
        at, visited = torch.zeros(paths.rows, dtype=torch.long), [[0] for _ in range(paths.rows)]
        while True:
            reported = self._gathered(paths, at).reported
            more = [int(i) for i in torch.where((reported > rtol) & (at + 1 < len(self.sizes)))[0]]
            if not more:
                break
            for row in more:
                at[row] = self._next(int(at[row]), float(reported[row]), rtol)
                visited[row].append(int(at[row]))
        found = self._gathered(paths, at)
        paid = {way: self._paid(paths, way) for way in {tuple(way) for way in visited}}
        return Stopped(torch.tensor([paid[tuple(way)] for way in visited]), found.reported, found.true)

    def _next(self, level: int, reported: float, rtol: float) -> int:
        wanted = self.sizes[level] * reported / rtol if self.jump else 0
        later = range(level + 1, len(self.sizes))
        return next((one for one in later if self.sizes[one] >= wanted), later[-1])

    def _gathered(self, paths: Paths, at: Tensor) -> Stopped:
        levels = self._levels(paths, int(at.max()))
        row = torch.arange(paths.rows)
        reported, true = (torch.stack([getattr(one, name) for one in levels]) for name in ("reported", "true"))
        return Stopped(at, reported[at, row], true[at, row])

    def _levels(self, paths: Paths, last: int) -> list[_Level]:
        known = self._known.setdefault(paths.name, [])
        while len(known) <= last:
            rule = self.rule(paths, self.sizes[len(known)])
            integrand = paths.at(rule.t)
            maps = rule.maps(integrand)
            reported = self.bar(paths, rule, integrand, known[-1].maps if known else None)
            known.append(_Level(rule, maps, reported, paths.error(maps)))
        return known

    def _paid(self, paths: Paths, way: Sequence[int]) -> float:
        """Distinct nodes of some levels."""
        rules = [self._levels(paths, max(way))[level].rule for level in way]
        return float(len({round(float(t), 9) for rule in rules for t in rule.t[0][rule.weights[0] != 0]}))


@dataclass(frozen=True)
class _Level:
    rule: Rule
    maps: Tensor
    reported: Tensor
    true: Tensor


# --- cells -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cells:
    """Trapezoid rule in u, t = u², whose cells are halved where that saves the most error.

    It has to keep the gradient of every node of a row.

    Attributes:
        intervals: at first.
        share: of the squared error, held by the cells that are halved in one step; 0: one cell, 1: as many cells
            as should be enough.
        graded: most that a cell is wider than its neighbours.
    """

    intervals: int
    share: float
    graded: float = math.inf

    def run(self, paths: Paths, rtol: float) -> Stopped:
        """Stop every row by its own word."""
        u = torch.linspace(0, 1, self.intervals + 1, dtype=torch.float64).repeat(paths.rows, 1)
        integrand = _integrand(paths, u)
        result = Stopped(*(torch.full((paths.rows,), torch.nan, dtype=torch.float64) for _ in range(3)))
        still_open = torch.ones(paths.rows, dtype=torch.bool)
        while True:
            maps = _trapezoid(u, integrand)
            reported, squares = reported_error(paths, u, integrand, maps)
            count = u.isfinite().double().sum(dim=1) - 1  # the integrand is 0 at the baseline
            done = still_open & ((reported <= rtol) | (count >= MOST_CELLS))
            for kept, now in zip(vars(result).values(), (count, reported, paths.error(maps)), strict=True):
                kept[done] = now[done]
            still_open &= ~done
            if not still_open.any():
                return result
            chosen = self._chosen(squares, u, rtol / reported) & still_open[:, None]
            u, integrand = _halved(paths, u, integrand, chosen)

    def _chosen(self, squares: Tensor, u: Tensor, share: Tensor) -> Tensor:
        """(rows, cells) bool, which are halved so that the error falls to a share of itself."""
        order = squares.argsort(dim=1, descending=True)
        held = squares.gather(1, order).cumsum(dim=1) / squares.sum(dim=1, keepdim=True)
        wanted = ((1 - share.square()) * 4 / 3).clamp(max=self.share)[:, None]
        enough = (held < wanted).sum(dim=1, keepdim=True)
        chosen = torch.zeros_like(squares, dtype=torch.bool)
        chosen.scatter_(1, order, torch.arange(squares.shape[1]) <= enough)
        return self._grade(chosen & u[:, 1:].isfinite(), u)

    def _grade(self, chosen: Tensor, u: Tensor) -> Tensor:
        """Halve those too that would be much wider than their neighbours."""
        width = torch.diff(u, dim=1)
        width = torch.where(u[:, 1:].isfinite(), width, torch.inf)
        while True:
            padded = torch.nn.functional.pad(torch.where(chosen, width / 2, width), (1, 1), value=torch.inf)
            narrowest = torch.minimum(padded[:, :-2], padded[:, 2:])
            more = chosen | (padded[:, 1:-1] > self.graded * narrowest * 1.001) & u[:, 1:].isfinite()
            if bool((more == chosen).all()):
                return chosen
            chosen = more


def _integrand(paths: Paths, u: Tensor) -> Tensor:
    """(rows, n, D) Δ ⊙ 2u ∇f at t = u² (rows, n); 0 where u is infinite."""
    there = u.isfinite()
    found = paths.at(torch.where(there, u, 1.0).square())
    return found * torch.where(there, 2 * u, 0.0).float()[:, :, None]


def _trapezoid(u: Tensor, integrand: Tensor) -> Tensor:
    """(rows, D) maps; constants are integrated exactly."""
    step = torch.diff(u, dim=1)
    step = torch.where(step.isfinite(), step, 0.0)
    half = torch.nn.functional.pad(step, (1, 0)) / 2 + torch.nn.functional.pad(step, (0, 1)) / 2
    mass = (half * torch.where(u.isfinite(), 2 * u, 0.0)).sum(dim=1, keepdim=True)
    return torch.einsum("rn,rnd->rd", (half / mass).float(), integrand).double()


def _halved(paths: Paths, u: Tensor, integrand: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and integrand with another node in the middle of the chosen cells (rows, cells)."""
    middle = torch.where(chosen, (u[:, :-1] + u[:, 1:]) / 2, torch.inf).sort(dim=1).values
    middle = middle[:, : int(chosen.sum(dim=1).max())]
    both = torch.cat([integrand, _integrand(paths, middle)], dim=1)
    u, order = torch.cat([u, middle], dim=1).sort(dim=1)
    most = int(u.isfinite().sum(dim=1).max())
    return u[:, :most], both[torch.arange(len(u))[:, None], order[:, :most]]
