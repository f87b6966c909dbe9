"""Reported error of an integrated matrix: identities of the truth, and by how much the sums miss them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..paths.error_bar import ratio
from .grouping import Forms, Grouping
from .log_rules import LogRule

__all__ = ["Witnesses"]

SAFETY = 2.0
WIDEST_STRETCH = 5.0
SHADOW_SHARE = 0.25
ROUNDINGS = 16


class Witnesses:
    """What every node says about the open rows of a sweep, in a few numbers per group.

    Along the path the derivative of u_G·g is u_Gᵀ H Δ. Two integrals by parts follow that every rule can be
    held against: Σ_G' Γ_GG' = IG_G, and ∫ (1 − 2t) u_G·g + t (1 − t) u_Gᵀ H Δ dt = 0; a third is
    Σ IG = f(x) − f(x'). Their gaps are true errors of the same sums on the same nodes, along one direction; the
    length of the integrand's own matrices relative to their row sums turns them into errors of the matrix.
    `make bench-interactions` compares the figure with true errors.

    Arguments:
        rows: open rows.
        nodes: of the last level.
        chosen: R.
        like: a tensor on the device.

    Example:
        >>> from xattr_cli.numerics.interactions.log_rules import nested_log_rules
        >>> rules = nested_log_rules(129)
        >>> untold = Witnesses(rows=1, nodes=len(rules.nodes), chosen=2, like=torch.zeros(1, 2))
        >>> untold.row_sum_gap(rules.levels[0]).tolist()  # nothing was seen, and nothing is missing
        [[0.0, 0.0]]
    """

    def __init__(self, rows: int, nodes: int, chosen: int, like: Tensor) -> None:
        # float64: the gaps are differences of nearly equal sums
        self.along = like.new_zeros(rows, nodes, dtype=torch.float64)
        self.squares, self.along_squares, self.slope_squares = (torch.zeros_like(self.along) for _ in range(3))
        self.own = self.along[:, :, None].repeat(1, 1, chosen)
        self.slope = torch.zeros_like(self.own)

    def add(
        self, slot: Tensor, node: Tensor, forms: Forms, delta: Tensor, groups: Grouping, row: Tensor, share: float
    ) -> None:
        """Take note of some nodes.

        Arguments:
            slot, node: (k,) of which open row, and of which of its nodes.
            forms: their values.
            delta: (k, D) Δ.
            groups: of coordinates.
            row: (k,) in the block.
            share: of each in its node, which is the mean over as many paths.
        """
        first = groups.project(delta, row, forms.gradients[None])[:, 0].double()
        projected = forms.forms.double()
        along, slope = first.sum(dim=1), projected.sum(dim=2)
        for total, values in (
            (self.own, first[:, groups.chosen]),
            (self.along, along),
            (self.slope, slope),
            (self.squares, projected[:, :, : groups.shown].square().sum(dim=(1, 2))),
            # a path's own lengths: those of a mean would hide what cancels in it
            (self.along_squares, along.square()),
            (self.slope_squares, slope.square().sum(dim=1)),
        ):
            total.index_put_((slot, node), share * values, accumulate=True)

    def keep(self, remaining: Tensor) -> None:
        """Forget the rows that are done."""
        for name in vars(self):
            setattr(self, name, getattr(self, name)[remaining])

    def diagonal(self, rule: LogRule) -> Tensor:
        """(open, R), ∫ −ln t · u_G·g dt."""
        return self._sum(rule.log, self.own)

    def row_sum_gap(self, rule: LogRule) -> Tensor:
        """(open, R), Σ_G' Γ_GG' − IG_G."""
        return self._sum(rule.ramp, self.slope) + self.diagonal(rule) - self._sum(rule.plain, self.own)

    def error(self, rule: LogRule, size: Tensor, shadow: Tensor, ends: Tensor) -> Tensor:
        """Relative error of a level.

        Arguments:
            rule: the level.
            size: (open,) ‖Γ‖.
            shadow: (open,) by how much the level before, or the first without its middle node, differs.
            ends: (2, open), f(x) and f(x') in the precision of the computation.

        Returns:
            (open,) reported error; 0 where the matrix and its error are exactly 0.
        """
        by_parts = self._sum(rule.parts[0], self.own) + self._sum(rule.parts[1], self.slope)
        gaps = torch.hypot(_length(self.row_sum_gap(rule)), _length(by_parts))
        missed = self._missed(rule, ends)
        weights = self._weights(rule.ramp).abs()
        squares = self.squares[:, : len(rule)] @ weights
        stretch = _stretch(squares, self.slope_squares[:, : len(rule)] @ weights)
        along = self.along_squares[:, : len(rule)] @ weights
        # nodes that see nothing at all of a score that changes know nothing of the matrix
        outer = torch.where((squares == 0) & (along == 0), 1.0, _stretch(squares, along))
        seen = SAFETY * torch.hypot(stretch.clamp(max=WIDEST_STRETCH) * gaps, outer * missed)
        # where row sums cancel they say little about the matrix, and what the last nodes have changed speaks
        seen = torch.where(stretch > WIDEST_STRETCH, torch.maximum(seen, shadow), seen)
        relative, behind = ratio(seen, size), ratio(shadow, size)
        # three gaps may be small by luck; but twice the nodes do not do more than square an error
        reported = torch.maximum(relative, SHADOW_SHARE * behind.square())
        rounding = torch.full_like(reported, ROUNDINGS * torch.finfo(ends.dtype).eps)
        return torch.where(size > 0, torch.hypot(reported, rounding), reported)

    def _missed(self, rule: LogRule, ends: Tensor) -> Tensor:
        """(open,), |Σ IG − (f(x) − f(x'))|, less what rounding of the scores explains."""
        total = self._sum(rule.plain, self.along[:, :, None])[:, 0]
        rounding = ROUNDINGS * torch.finfo(ends.dtype).eps * ends.double().abs().amax(dim=0)
        change = (ends[0] - ends[1]).double()
        return ((total - change).abs() - rounding).clamp(min=0)

    def _sum(self, weights: object, values: Tensor) -> Tensor:
        """Σ over the nodes of a level, (open, R)."""
        used = self._weights(weights)
        total: Tensor = torch.einsum("n,rng->rg", used, values[:, : len(used)])
        return total

    def _weights(self, weights: object) -> Tensor:
        return torch.as_tensor(weights, dtype=torch.float64, device=self.along.device)


def _length(vectors: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return length


def _stretch(squares: Tensor, of_sums: Tensor) -> Tensor:
    """‖a‖ / ‖sums of a‖ over the nodes; infinite where the sums cancel."""
    return torch.sqrt(squares / of_sums.clamp(min=1e-300))
