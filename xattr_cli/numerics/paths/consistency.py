"""Autograd against the function: is Δ·∇f the slope of the score along the path?

`detach`, `no_grad`, `.item()`, straight-through rounding and a backward pass of one's own make autograd return
something else than the derivative. Differences of scores tell; but a kink near a node, a jump, or rounding must
not be taken for it. A node contradicts its gradient only if

- at no step h, neither to the left nor to the right nor on both sides, the quotient of differences comes near
  Δ·∇f (a kink spoils one side, steps that are longer than the pieces between kinks are spoiled as a whole), and
- at two neighbouring steps the quotients of both sides agree among themselves much better than with Δ·∇f, so that
  there is a slope, and it is another one (a jump gives quotients that grow as 1 / h).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .field import Field
from .straight import StraightPath

__all__ = [
    "BISECTION_EVALUATIONS",
    "SlopeCheck",
    "Unexplained",
    "check_slopes",
    "node_positions",
    "unexplained_change",
]

FIRST_STEP = 2.0**-10
STEPS = tuple(2.0**-power for power in (4, 6, 8, 10, 12, 14, 16))
"""Of the path. Powers of two, as the nodes are multiples of one: t ± h is exact in float32."""

NODE_GRID = 2**12
MARGIN = 2.0**-4
GOLDEN = 0.6180339887498949
NOISE_STEPS = (2.0**-21, -(2.0**-21), 2.0**-20)

TOLERANCE = 0.1
"""Of a slope: nearer quotients agree with it."""

STABLE = 0.25
"""Of the distance to Δ·∇f: quotients that agree among themselves are nearer to each other."""

NEGLIGIBLE = 0.03
"""Of the largest slope on a row's path: what is smaller decides nothing."""

ROUNDING = 8.0
"""Units in the last place of the largest score, within which differences are rounding."""


@dataclass(frozen=True)
class SlopeCheck:
    """What differences of scores say about the gradients at some nodes of every path.

    Attributes:
        t: (rows, nodes) float64, where the nodes lie.
        slope: (rows, nodes) float64, Δ·∇f.
        difference: (rows, nodes) float64, the quotient of differences that was looked at last.
        informative: (rows, nodes) bool, finite nodes at which the score changes, and not by rounding.
        contradicts: (rows, nodes) bool, informative nodes at which the score has another slope.

    Example:
        >>> one, yes = torch.ones(1, 1), torch.ones(1, 1, dtype=torch.bool)
        >>> check = SlopeCheck(t=one / 2, slope=0 * one, difference=3 * one, informative=yes, contradicts=yes)
        >>> bool((check.informative & check.contradicts).any())  # such as x.detach() * 3
        True
    """

    t: Tensor
    slope: Tensor
    difference: Tensor
    informative: Tensor
    contradicts: Tensor


def node_positions(rows: int, nodes: int) -> Tensor:
    """(rows, nodes) float64 positions that no two rows share: generic, and away from both ends.

    Example:
        >>> node_positions(2, 3).shape, node_positions(2, 3).unique().numel()
        (torch.Size([2, 3]), 6)
    """
    order = torch.arange(1, rows * nodes + 1, dtype=torch.float64).view(nodes, rows).T
    spread = MARGIN * 1.5 + (1 - 3 * MARGIN) * (order * GOLDEN).frac()
    return (spread * NODE_GRID).floor() / NODE_GRID


def check_slopes(field: Field, path: StraightPath, t: Tensor) -> SlopeCheck:
    """Compare Δ·∇f with differences of the score at some nodes of every path.

    Takes a gradient and two scores per node, and some twenty scores more at nodes where they disagree.

    Arguments:
        field: evaluates f and ∇f.
        path: of every row.
        t: (rows, nodes) float64, such as `node_positions`.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> check = check_slopes(ProductField(), path, node_positions(1, 3))
        >>> check.informative.tolist(), check.contradicts.any().item()
        ([[True, True, True]], False)
    """
    rows, nodes = t.shape
    t = t.to(path.input.device)
    row = torch.arange(rows, device=t.device).repeat_interleave(nodes)
    value, slope = _slopes(field, path, row, t.flatten())
    scores = _Scores(field, path, row, t.flatten(), value)
    left, right = scores.quotients(torch.arange(len(row), device=row.device), FIRST_STEP)
    middle = (left + right) / 2
    largest = _largest(torch.maximum(slope.abs(), middle.abs()), row, rows)
    floor = _largest(value.abs(), row, rows)[row] * ROUNDING * torch.finfo(path.input.dtype).eps
    ignored = NEGLIGIBLE * largest[row]
    finite = slope.isfinite() & middle.isfinite()
    informative = finite & (torch.maximum(slope.abs(), middle.abs()) > ignored + floor / FIRST_STEP)
    apart = torch.stack([left, middle, right]) - slope
    near = TOLERANCE * torch.maximum(slope.abs(), middle.abs()) + floor / FIRST_STEP
    doubtful = (informative & (apart.abs() > torch.maximum(near, ignored)).all(dim=0)).nonzero()[:, 0]
    contradicts = torch.zeros_like(informative)
    if len(doubtful):
        contradicts[doubtful] = _confirmed(scores, doubtful, slope[doubtful], floor[doubtful], ignored[doubtful])
    shape = (rows, nodes)
    return SlopeCheck(t, slope.view(shape), middle.view(shape), informative.view(shape), contradicts.view(shape))


def _confirmed(scores: _Scores, which: Tensor, slope: Tensor, floor: Tensor, ignored: Tensor) -> Tensor:
    """(k,) whether no quotient of the nodes `which` (k,) comes near their slope, and some agree on another one."""
    noise = torch.maximum(floor, 2 * scores.noise(which))
    quotients = torch.stack([torch.stack(scores.quotients(which, h)) for h in STEPS])  # (steps, 2, k)
    both = torch.cat([quotients, quotients.mean(dim=1, keepdim=True)], dim=1)
    rounding = noise / both.new_tensor(STEPS)[:, None]
    near = TOLERANCE * torch.maximum(slope.abs(), both.abs()) + torch.maximum(rounding, ignored)[:, None]
    met = ((both - slope).abs() <= near).any(dim=(0, 1))
    pairs = torch.stack([quotients[:-1], quotients[1:]], dim=1).flatten(1, 2)  # (steps - 1, 4, k)
    apart = (pairs.mean(dim=1) - slope).abs()
    agreed = (pairs.amax(dim=1) - pairs.amin(dim=1)) <= STABLE * apart
    solid = (agreed & (apart > 4 * rounding[1:])).any(dim=0)
    return ~met & solid & quotients.isfinite().all(dim=(0, 1))


@dataclass(frozen=True)
class _Scores:
    """Scores near some nodes: of paths `row` (n,), at `t` (n,), where they are `value` (n,)."""

    field: Field
    path: StraightPath
    row: Tensor
    t: Tensor
    value: Tensor

    def at(self, which: Tensor, offset: float) -> Tensor:
        """(k,) float64 scores of the nodes `which` (k,), so far along the path from them."""
        points = self.path.at(self.row[which], self.t[which] + offset)
        return self.field.values(points).double()

    def quotients(self, which: Tensor, step: float) -> tuple[Tensor, Tensor]:
        """(k,) twice: quotients of differences to the left and to the right."""
        here = self.value[which]
        return (here - self.at(which, -step)) / step, (self.at(which, step) - here) / step

    def noise(self, which: Tensor) -> Tensor:
        """(k,) by how much scores differ within a step at the limit of single precision."""
        near = torch.stack([self.value[which], *(self.at(which, offset) for offset in NOISE_STEPS)])
        return near.amax(dim=0) - near.amin(dim=0)


def _slopes(field: Field, path: StraightPath, row: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) scores and (n,) Δ·∇f at points of the paths, in float64."""
    value = torch.full_like(t, torch.nan)
    slope = value.clone()
    for found in field.gradients(path.at(row, t)):
        delta = path.input[row[found.part]] - path.baseline[row[found.part]]
        value[found.part] = found.values.double()
        slope[found.part] = (delta.double() * found.gradients.double()).sum(dim=1)
    return value, slope


def _largest(size: Tensor, row: Tensor, rows: int) -> Tensor:
    """(rows,) of sizes (n,) of nodes, those that are not finite left out."""
    return size.new_zeros(rows).scatter_reduce_(0, row, size.nan_to_num(0, 0, 0), "amax")


CELLS = 64
WORST = 8
"""Cells that are looked into: those at which the score changes most otherwise than its gradients say."""

HALVINGS = 20
BISECTION_EVALUATIONS = CELLS + 1 + WORST * HALVINGS


@dataclass(frozen=True)
class Unexplained:
    """Change of the score along paths that the gradients there do not explain.

    Attributes:
        change: (rows,) float64, of the whole path, signed.
        persists: (rows,) float64, share of it in the worst cells that is left after these were refined: 0 for
            what a kink, a curve or a steep place hid, 1 for a jump, and for what a wrong gradient leaves out.

    Example:
        >>> jump = Unexplained(change=torch.tensor([2.0]), persists=torch.tensor([1.0]))
        >>> bool(jump.persists > 0.5)  # no refinement removes it
        True
    """

    change: Tensor
    persists: Tensor


def unexplained_change(field: Field, path: StraightPath) -> Unexplained:
    """Does the gap between the score and its gradients fall where cells are refined?

    The path is cut into cells with a trapezoid each. In those that miss most, the part that misses most is halved
    again and again, down to the spacing of float32. Takes 225 gradients per row.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> found = unexplained_change(ProductField(), path)
        >>> abs(found.change.item()) < 1e-9, found.persists.item() < 0.5
        (True, True)
    """
    rows = len(path.input)
    row = torch.arange(rows, device=path.input.device).repeat_interleave(CELLS + 1)
    t = torch.linspace(0, 1, CELLS + 1, dtype=torch.float64, device=row.device).repeat(rows)
    nodes = [numbers.view(rows, CELLS + 1) for numbers in (t, *_slopes(field, path, row, t))]
    missed = _missed(*nodes)
    worst = missed.abs().topk(WORST, dim=1).indices
    row = torch.arange(rows, device=row.device).repeat_interleave(WORST)
    cells = [torch.stack([n.gather(1, worst), n.gather(1, worst + 1)], dim=2).flatten(0, 1) for n in nodes]
    for _ in range(HALVINGS):
        cells = _halve_worst(field, path, row, cells)
    before = missed.gather(1, worst)
    after = _missed(*cells).sum(dim=1).view(rows, WORST)
    left = (after * before.sign()).sum(dim=1) / before.abs().sum(dim=1).clamp(min=1e-300)
    return Unexplained(missed.sum(dim=1) + (after - before).sum(dim=1), left)


def _halve_worst(field: Field, path: StraightPath, row: Tensor, cells: list[Tensor]) -> list[Tensor]:
    """Cells t, score, slope (k, n) of paths `row` (k,), with a node more: in the middle of the worst."""
    t = cells[0]
    worst = _missed(*cells).abs().argmax(dim=1, keepdim=True)
    middle = (t.gather(1, worst) + t.gather(1, worst + 1)) / 2
    here = (middle[:, 0], *_slopes(field, path, row, middle[:, 0]))
    order = torch.cat([t, middle], dim=1).argsort(dim=1, stable=True)
    return [torch.cat([old, new[:, None]], dim=1).gather(1, order) for old, new in zip(cells, here, strict=True)]


def _missed(t: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    """(rows, cells) change of the score less the trapezoid of its slope; 0 where either is not finite."""
    trapezoid = torch.diff(t, dim=1) * (slope[:, :-1] + slope[:, 1:]) / 2
    return (torch.diff(value, dim=1) - trapezoid).nan_to_num(0, 0, 0)
