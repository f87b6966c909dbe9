"""What secant cells are worth on the rows of a job itself: a few of them, against a fine rule."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...samples import Status
from ..paths.field import CellField
from ..paths.straight import PowerWarp, StraightPath
from ..paths.sweep import PathIntegral
from .error_share import (
    CAUTIOUS,
    FEWEST,
    ErrorShare,
    fitted_moves,
    fitted_share,
    moves_per_size,
    power_of_cells,
    rounding_of,
)
from .passes import CellPasses
from .secants import MOST_TIMES, SPARE, SecantRule, integrate_secants
from .sums import CellSums

__all__ = ["Calibration", "calibrate", "rehearse"]

LEVELS = (FEWEST, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64)
FIRST_LEVELS = 5
"""So many are always judged: two of them have twice as many cells as others."""
FINER, FINEST = 4, 256
"""Cells of the reference for each one that is judged by it, and the most."""
LEAST_ORDER = 0.8
"""Of the error in the number of cells."""
WORTH_WATCHING = 0.1
"""Of the cells of a first pass that are exact: of fewer, nobody needs to know."""
SURE, MOST_REHEARSED = 32, 64
"""Cells of a first pass that may do where nothing is known of the network. If none of a few is exact, two passes
seldom take less than so many; if some are, those are not made again, and that has to be tried."""
FALLS = 1.2
"""Roughness times its cautious share falls like n^-1.4 in the end, on photographs at first like n^-1.1."""
ROOM = 1.25
"""What the worst of many rows reports over what one of them does: of photographs through efficientnet-lite0 the
worst of eight 1.27 times, with 6 to 32 cells."""


@dataclass(frozen=True)
class Calibration:
    """What a few rows have told.

    Attributes:
        share: of the differences between neighbouring cells that is reported as the error.
        cells: of the first pass, with which the rows would have taken the fewest evaluations.
        cost: evaluations a row that this takes; 0 if nothing was tried, infinite if it is more than was allowed.
        rows: on how many the share was measured; 0 if it is the cautious one.
        evaluations: that it took.
        watching: whether so many cells of that pass were exact that it pays to look for them.

    Example:
        >>> Calibration().cells
        6
    """

    share: ErrorShare = SecantRule.share
    cells: int = SecantRule.cells
    cost: float = 0.0
    rows: int = 0
    evaluations: int = 0
    watching: bool = True

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Calibration:
        """From what `dataclasses.asdict` has made of one."""
        share = {**stored["share"], "moves": tuple(stored["share"]["moves"])}
        return cls(**{**stored, "share": ErrorShare(**share)})


def rehearse(field: CellField, path: StraightPath, rule: SecantRule) -> Calibration:
    """For too few rows to measure how far cells are from the integral: with how many it pays to begin.

    A first pass that tells how many cells are needed is of no use when those are made. Where rows are alike, as
    photographs are, others had better begin with what these would have needed at once.

    Arguments:
        field: evaluates cells.
        path: of a row or two.
        rule: with the tolerance that is asked for, and the cells of a first pass that suits most networks.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(2, 3), torch.tensor([[2.0, 3.0, 1.0], [1.0, 5.0, 2.0]]))
        >>> known = rehearse(ProductField(), path, SecantRule(rtol=0.05, max_nodes=1024))
        >>> known.cells, known.cost, known.rows
        (21, 22.0, 0)
    """
    passes, cells, refining = CellPasses(field, path, PowerWarp(rule.warp)), rule.cells, None
    while cells < min(MOST_REHEARSED, rule.max_nodes, math.inf if refining is None else refining - 1):
        passes.kept[cells] = passes.made(cells)[0]
        beyond = float((ROOM * passes.errors(rule.share) / rule.rtol).max())
        known = _begins_with(cells, cells + 1.0, passes, rule.share)
        if beyond <= 1:
            return replace(known, rows=0)
        if beyond == math.inf:
            break
        cells = max(cells + 1, math.ceil(cells * (SPARE * beyond) ** (1 / FALLS)))
        if refining is None and (known.watching or cells > SURE):
            refining = _cost_of(integrate_secants(field, path, rule))
    if refining is None:
        refining = _cost_of(integrate_secants(field, path, rule))
    return Calibration(cost=refining, cells=rule.cells)


def _cost_of(integral: PathIntegral) -> float:
    """Evaluations a row; infinite if some have not converged."""
    converged = bool((integral.status == Status.CONVERGED).all())
    return float(integral.evaluations.double().mean()) if converged else math.inf


def calibrate(field: CellField, path: StraightPath, rule: SecantRule, most: float = math.inf) -> Calibration:
    """Judge passes of more and more cells by a finer one, until they are as good as asked for.

    Arguments:
        field: evaluates cells.
        path: of some rows, at least two.
        rule: with the tolerance that is asked for.
        most: evaluations a row, beyond which nobody wants cells; some may be called dearer than they are then.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(2, 3), torch.tensor([[2.0, 3.0, 1.0], [1.0, 5.0, 2.0]]))
        >>> rule = SecantRule(rtol=0.05, max_nodes=1024)
        >>> known = calibrate(ProductField(), path, rule)
        >>> known.rows, known.cells, calibrate(ProductField(), path, rule, most=4).cost
        (2, 8, inf)
    """
    passes = CellPasses(field, path, PowerWarp(rule.warp))
    one, few = passes.made(1, FEWEST)
    if _is_exact(passes, one, few):  # a single function bends: there is nothing to refine
        return Calibration(cells=1, cost=2.0, rows=passes.rows, evaluations=passes.evaluations)
    levels = [cells for cells in LEVELS if cells < most]
    if len(levels) < 2:
        return Calibration(cost=math.inf, rows=passes.rows, evaluations=passes.evaluations)
    first, later = levels[:FIRST_LEVELS], levels[FIRST_LEVELS:]
    finest = FINER * first[-1]
    *judged, fine = passes.made(*first[1:], finest)
    passes.kept.update(zip(first, [few, *judged], strict=True))
    share = _measured_share(passes, fine.mean_gradient)
    for cells in later:
        if _good_enough(passes, share, rule.rtol) or 2 * FINER * passes.latest > FINEST:
            break
        if finest < FINER * cells:
            finest = FINER * max(some for some in levels if some <= 2 * cells)
            fine = passes.made(finest)[0]
        passes.kept[cells] = passes.made(cells)[0]
        share = _measured_share(passes, fine.mean_gradient)
    cells, cost = passes.cheapest(replace(rule, share=share))
    return _begins_with(cells, cost, passes, share)


def _begins_with(cells: int, cost: float, passes: CellPasses, share: ErrorShare) -> Calibration:
    watching = bool(passes.kept[cells].exact.double().mean() >= WORTH_WATCHING)
    return Calibration(share, cells, cost, passes.rows, passes.evaluations, watching)


def _is_exact(passes: CellPasses, one: CellSums, few: CellSums) -> bool:
    """Whether single cells are exact, and a few of them make the same maps up to rounding."""
    if not one.exact.all():
        return False
    apart = passes.length(few.mean_gradient - one.mean_gradient)
    return bool((apart <= 2 * rounding_of(passes.dtype) * passes.length(few.mean_gradient)).all())


def _good_enough(passes: CellPasses, share: ErrorShare, rtol: float) -> bool:
    """Whether most rows would stop at the latest pass."""
    return bool((passes.errors(share) <= rtol).double().mean() >= 0.9)


def _measured_share(passes: CellPasses, reference: Tensor) -> ErrorShare:
    """From all passes so far; the cautious one where rows are not finite or exact."""
    evidence = [passes.evidence(cells) for cells in passes.kept]
    roughness = torch.stack([each.roughness / each.size for each in evidence], dim=1).cpu()
    size = passes.size(passes.latest)
    errors = torch.stack(
        [passes.length(sums.mean_gradient - reference) / size for sums in passes.kept.values()], dim=1
    ).cpu()
    finite = torch.isfinite(errors).all(dim=1)
    known = torch.stack([each.inexact > 0 for each in evidence], dim=1).cpu() & finite[:, None] & (roughness > 0)
    if int(known.any(dim=1).sum()) < 2:
        return CAUTIOUS
    floor = 2 * rounding_of(passes.dtype)
    cells, errors = torch.tensor([*passes.kept]), torch.where(known, errors, torch.nan)
    beyond = torch.where(known, (errors - floor).clamp(min=0), 0.0)[finite]
    converges = max(power_of_cells(cells, beyond, CAUTIOUS.converges), LEAST_ORDER)
    moves = fitted_moves(*_moves(passes, errors.clamp(min=floor), converges))
    return replace(fitted_share(cells, errors, roughness, floor), moves=moves, converges=converges)


def _moves(passes: CellPasses, errors: Tensor, converges: float) -> tuple[Tensor, Tensor]:
    """Errors (rows, pairs) of passes of several times the cells of another one, and what those tell."""
    floor = rounding_of(passes.dtype)
    chosen, left = [errors.new_zeros(len(errors), 0)], [errors.new_zeros(2, len(errors), 0)]
    for number, fine in enumerate(passes.kept):
        for coarse in passes.kept:
            if coarse < fine <= MOST_TIMES * coarse and fine % coarse == 0:
                per_size = moves_per_size(passes.evidence(fine, coarse), converges).cpu().clamp(min=floor)
                chosen.append(errors[:, number, None])
                left.append(per_size[:, :, None])
    return torch.cat(chosen, dim=1), torch.cat(left, dim=2)
