"""Whether secants serve a network: on a few rows, the cells must account for the difference of the scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import Interrupted
from ...numerics.paths.field import Part
from ..packing import is_out_of_memory
from ..scorer import Rows, Scorer
from .field import SecantField
from .recurrent import RECURRENT

__all__ = ["SecantProbe", "probe_secants"]

CELLS = (1, 3)
ROUNDINGS = 64
"""Units in the last place, relative to the largest score or sum of the map's sizes, that are no gap."""


@dataclass(frozen=True)
class SecantProbe:
    """What a probe of the secants of a network has found.

    Attributes:
        serves: whether maps may be made of secants.
        gap: largest difference between the sum of the cells and that of the scores, relative to the larger
            of the scores and the sum of the map's sizes; NaN if they could not be computed.
        reason: why they do not serve, for a person; empty if they do.
        cost: of a cell in gradients, roughly; it depends on the network's functions alone.
    """

    serves: bool
    gap: float
    reason: str = ""
    cost: float = 1.0


def probe_secants(scorer: Scorer, rows: Rows, baselines: Tensor) -> SecantProbe:
    """Compare the sums of one cell and of several with the differences of the scores.

    Arguments:
        scorer: the network.
        rows: a few, finite.
        baselines: (rows, D), of the same rows.
    """
    if scorer.packing.rows < 2:
        return SecantProbe(False, float("nan"), "a device call takes a single row, and a cell needs two")
    field = SecantField(scorer, rows)
    try:
        gaps = [_gap(field, baselines, cells) for cells in CELLS]
    except Interrupted:
        raise
    except Exception as error:  # a network written for plain tensors fails in whatever way it likes
        if is_out_of_memory(error):
            raise
        return SecantProbe(False, float("nan"), f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")
    gap = max(gaps)
    serves = gap <= ROUNDINGS * torch.finfo(scorer.dtype).eps
    reason = "" if serves else _reason(gap, sorted(field.left), scorer.feed or scorer.dtype)
    return SecantProbe(serves, gap, reason, cost_of(field.replaced))


def cost_of(replaced: Collection[str]) -> float:
    """Of a cell in gradients, for a network with these functions; measured on one thread of a CPU.

    ReLU CNNs with max-pools 1.15 to 1.5, efficientnet-lite0 1.12, ReLU MLP 1.5; transformer layer 2.0, GELU MLP
    3.2; GRU of 8 steps 2.3, bidirectional LSTM of 20 steps 3.8, which run step by step and not fused.
    """
    if not RECURRENT.keys().isdisjoint(replaced):
        return 3.0
    return 1.25 if set(replaced) <= PIECEWISE else 2.0


PIECEWISE = frozenset(
    """
    relu relu6 hardtanh clamp clip clamp_min clamp_max leaky_relu prelu rrelu abs threshold _threshold amax amin
    max min maximum minimum max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
    max_pool3d_with_indices adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d where mul __mul__ __rmul__
    """.split()
)


def _reason(gap: float, left: Sequence[str], given: torch.dtype) -> str:
    sums = f"the cells miss the difference of the scores by {gap:.1e}"
    if torch.finfo(given).bits < 32 and gap <= ROUNDINGS * torch.finfo(given).eps:
        name = str(given).removeprefix("torch.")
        return f"{sums}: weights are used as they are stored, and {name} rounds by as much"
    if left:
        return f"{sums}: no secant is known of {', '.join(left)}"
    return f"{sums}: some of the network changes along the path unseen by torch's functions or its gradients"


def _gap(field: SecantField, baselines: Tensor, cells: int) -> float:
    inputs = field.rows.inputs
    t = torch.linspace(0, 1, cells + 1, dtype=inputs.dtype, device=inputs.device)
    chains = _Given(baselines, inputs, t)
    sums = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
    size, own = sums.clone(), inputs.new_zeros(2, len(inputs))
    for found in field.cells(chains):
        row, cell = chains.row[found.part], found.part % (cells + 1)
        parts = (found.gradients * (inputs - baselines)[row]).double() / cells
        sums.index_add_(0, row, parts.sum(dim=1))
        size.index_add_(0, row, parts.abs().sum(dim=1))
        own[0, row[cell == 0]] = found.left[cell == 0]
        own[1, row[cell == cells - 1]] = found.right[cell == cells - 1]
    every = torch.arange(len(inputs), device=inputs.device)
    ends = _Points(torch.cat([baselines, inputs]), every.repeat(2))
    scores = field.scorer.field(field.rows).values(ends).view(2, -1).double()
    gap = (sums - (scores[1] - scores[0])).abs()
    # under the mode the network must say the same as without it
    apart = (own.double() - scores).abs().amax(dim=0)
    scale = torch.maximum(size, scores.abs().amax(dim=0)).clamp(min=1e-300)
    return float(torch.nan_to_num(torch.maximum(gap, apart) / scale, nan=torch.inf).max())


@dataclass(frozen=True)
class _Points:
    points: Tensor
    row: Tensor

    def take(self, part: Part) -> Tensor:
        return self.points[part]


class _Given:
    """Nodes t (n,) on the straight paths of all rows."""

    place = None

    def __init__(self, start: Tensor, stop: Tensor, t: Tensor) -> None:
        self._start, self._stop = start, stop
        self.row = torch.arange(len(start), device=start.device).repeat_interleave(len(t))
        self._t = t.repeat(len(start))
        self.last = self._t == 1

    def take(self, part: Part) -> Tensor:
        row = self.row[part]
        return self._start[row].lerp(self._stop[row], self._t[part][:, None])
