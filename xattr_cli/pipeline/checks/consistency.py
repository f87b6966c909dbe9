"""Is autograd the derivative of this network? Asked of the first rows, and of every doubtful row after them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ...baselines import Baseline
from ...device.detachments import locate_detachments
from ...engines.base import Engine, Explanation
from ...engines.block import Block
from ...errors import ModelError
from ...numerics.paths.consistency import (
    BISECTION_EVALUATIONS,
    SlopeCheck,
    check_slopes,
    node_positions,
    unexplained_change,
)
from ...numerics.paths.straight import StraightPath
from ...samples import Status
from ..baselines import gradient_baselines
from ..session import Session

__all__ = ["check_autograd", "with_consistency"]

PROBE_NODES = 16
"""Of all first rows together."""

ROW_NODES = 6
ROW_PATHS = 6
"""Baselines of a background, from which a doubtful row is approached."""

FEWEST = 2
SHARE = 1 / 8
"""Nodes at which gradients must be contradicted, of those where the score changes. Of 8,700 random networks whose
autograd is their derivative (kinks, steps, steep, unscaled, quantised, bfloat16 inside; 16 nodes each), 25 had one
such node and none had two."""

BEYOND = 0.98
"""Of the error bar: it is never smaller than the gap that is known, and doubtful where it is no larger."""

SAMPLED = 3.0
"""How far beyond error bar and tolerance, where maps are means over a background: errors of sampling that are
small in the map add up in its sum. On 2,300 rows of random networks 1 % had gaps of twice the tolerance."""

PERSISTS = 0.75
"""Of a gap, that refinement does not remove."""

GAP_ROUNDING = 32.0
"""Units in the last place of the scores, within which a gap says nothing."""


def check_autograd(session: Session, probe: Block) -> tuple[str, ...]:
    """Compare the gradients that autograd returns with differences of the score, on paths to the first rows.

    Returns:
        What contradicts them, if the job allows it; else nothing.

    Raises:
        ModelError: something does; names the operations that may be why.
    """
    if not any(engine.differentiates for engine in session.job.engines.values()):
        return ()
    rows = len(probe.rows)
    t = node_positions(rows, -(-PROBE_NODES // max(1, rows)))
    every = torch.arange(rows, device=probe.inputs.device)
    starts = [_starts(session, probe, baseline, every)[0] for baseline in gradient_baselines(session.job.engines)]
    for start in starts or [_others(probe.inputs)]:
        slopes = check_slopes(probe.field, StraightPath(start, probe.inputs), t)
        if _is_contradicted(slopes.contradicts.flatten(), slopes.informative.flatten()):
            text = _contradiction(session, probe, slopes)
            if not session.job.allow_inconsistent:
                raise ModelError(f"{text} {_ADVICE}")
            return (f"{text} Allowed by allow_inconsistent: no row counts as converged.",)
    return ()


_ADVICE = (
    "Maps would explain another function than this network, and not add up to its score. Let gradients pass "
    "there, or set allow_inconsistent: true if that gradient is what you mean; then the file says so."
)


def _others(inputs: Tensor) -> Tensor:
    """(rows, D): the row before each; half of it where all are the same."""
    others = inputs.roll(1, dims=0)
    return torch.where((others == inputs).all(dim=1, keepdim=True), inputs / 2, others)


def _is_contradicted(contradicts: Tensor, informative: Tensor) -> bool:
    count = int(contradicts.sum())
    return count >= FEWEST and count >= SHARE * int(informative.sum())


def _contradiction(session: Session, probe: Block, slopes: SlopeCheck) -> str:
    count, of = int(slopes.contradicts.sum()), int(slopes.informative.sum())
    apart = torch.where(slopes.contradicts, (slopes.slope - slopes.difference).abs(), -1.0)
    worst = int(apart.argmax())
    t, slope, difference = (float(x.flatten()[worst]) for x in (slopes.t, slopes.slope, slopes.difference))
    return (
        f"autograd is not the derivative of this network: at {count} of {of} points on the paths to the first "
        f"rows the score changes otherwise than its gradient says (at t = {t:.3g} of a path by {difference:.4g} "
        f"per unit of t, not by {slope:.4g}). {_places(session, probe)}"
    )


def _places(session: Session, probe: Block) -> str:
    scorer = session.scorer
    rows = scorer.packing.rows if scorer.packing.fixed else len(probe.rows)
    filled, filling = scorer.fill(probe.inputs[:rows], {k: v[:rows] for k, v in probe.rows.context.items()}, rows)

    def forward() -> Tensor:
        with torch.enable_grad(), scorer.exact_arithmetic():
            return scorer.graded(filled.detach().requires_grad_(), filling)

    detachments = locate_detachments(scorer.module, forward)
    if not detachments:
        return "No detached value is seen in its operations: look for code that is compiled or a program."
    listed = "; ".join(map(str, detachments[:_MOST_LISTED])) + ("; …" if len(detachments) > _MOST_LISTED else "")
    return f"Seen on the way: {listed}."


_MOST_LISTED = 4


# --- row by row ---------------------------------------------------------------------------------


def with_consistency(session: Session, engine: Engine, block: Block, explanation: Explanation) -> Explanation:
    """What an engine has found, its rows marked whose gradients do not add up to the score.

    Of a network that is known to be inconsistent, all rows of engines that ask for gradients are. Of any other,
    those whose completeness gap exceeds error bar and tolerance are looked at: differences of the score along the
    path contradict the gradients, or the gap does not fall where cells are halved down to the spacing of float32
    (jumps of the score, say, which have no gradient).
    """
    if not engine.differentiates:
        return explanation
    if session.contradictions:
        return replace(
            explanation, status=_marked(explanation, torch.ones_like(explanation.relative_error, dtype=torch.bool))
        )
    if not isinstance(getattr(engine, "baseline", None), Baseline) or engine.second_order:
        return explanation
    sampled = session.baselines.bound(engine.baseline).is_several  # type: ignore[attr-defined]
    doubtful = _doubtful(explanation, getattr(engine, "rtol", 0.0), SAMPLED if sampled else 1.0).nonzero()[:, 0]
    if not len(doubtful):
        return explanation
    inconsistent = torch.zeros_like(explanation.relative_error, dtype=torch.bool)
    gap, evaluations = _gap(explanation), explanation.evaluations.clone()
    for some in torch.split(
        doubtful, session.scorer.packing.rows
    ):  # copies of their inputs and baselines are made
        starts = _starts(session, block, engine.baseline, some, gap[some])  # type: ignore[attr-defined]
        inconsistent[some], cost = _look_closer(block, starts, some, gap[some])
        evaluations[some] += cost
    return replace(explanation, status=_marked(explanation, inconsistent), evaluations=evaluations)


def _marked(explanation: Explanation, inconsistent: Tensor) -> Tensor:
    status = torch.zeros_like(explanation.relative_error) if explanation.status is None else explanation.status
    return torch.where(inconsistent & (status != Status.QUARANTINED), Status.INCONSISTENT, status).to(torch.int8)


def _gap(explanation: Explanation) -> Tensor:
    """(rows,) float64, completeness gap; 0 within the rounding of the scores."""
    if explanation.score_baseline is None:
        return torch.zeros_like(explanation.relative_error)
    ends = torch.stack([explanation.score_input, explanation.score_baseline])
    gap = explanation.attribution.double().sum(dim=1) - (ends[0].double() - ends[1].double())
    rounding = GAP_ROUNDING * torch.finfo(ends.dtype).eps * ends.double().abs().amax(dim=0)
    return torch.where(gap.abs() <= rounding, 0.0, gap)


def _doubtful(explanation: Explanation, rtol: float, factor: float) -> Tensor:
    """(rows,) bool, whose gap exceeds both error bar and tolerance; not those of NaN.

    Rows that ended early without having converged claim nothing, and a closer look would be dearer than they were.
    """
    if explanation.status is None:
        return torch.zeros_like(explanation.relative_error, dtype=torch.bool)
    size = torch.linalg.vector_norm(explanation.attribution, dim=1, dtype=torch.float64)
    explained_by_error = (BEYOND * explanation.relative_error.double()).clamp(min=rtol)
    exhausted = (explanation.status == Status.NOT_CONVERGED) & (explanation.evaluations >= BISECTION_EVALUATIONS)
    worthwhile = (explanation.status == Status.CONVERGED) | exhausted
    return worthwhile & (_gap(explanation).abs() > torch.where(size > 0, factor * explained_by_error * size, 0.0))


def _look_closer(block: Block, starts: Sequence[Tensor], doubtful: Tensor, gap: Tensor) -> tuple[Tensor, int]:
    """(k,) whether the gradients of the rows `doubtful` (k,) are inconsistent, and evaluations per row."""
    paths = len(starts)
    rows = doubtful.repeat(paths)
    field = block.scorer.field(block.rows.take(rows))
    path = StraightPath(torch.cat(list(starts)), block.inputs[rows])
    # the same nodes in all of them, so that no row depends on the others
    slopes = check_slopes(field, path, node_positions(1, ROW_NODES).expand(len(rows), -1))
    shape = (paths, len(doubtful), ROW_NODES)
    contradicts = slopes.contradicts.view(shape).transpose(0, 1).flatten(1)
    informative = slopes.informative.view(shape).transpose(0, 1).flatten(1)
    count = contradicts.sum(dim=1)
    contradicted = (count >= FEWEST) & (count >= SHARE * informative.sum(dim=1))
    refined = unexplained_change(field, path)
    unexplained, remaining = (x.view(paths, -1) for x in (refined.change, refined.persists))
    # the gap over a background is a mean of what is unexplained on its paths, so some have as much
    persists = ((remaining > PERSISTS) & (unexplained.abs() > gap.abs() / 2) & (unexplained * gap < 0)).any(dim=0)
    return contradicted | persists, paths * (3 * ROW_NODES + BISECTION_EVALUATIONS)


def _starts(
    session: Session, block: Block, baseline: Baseline, rows: Tensor, gap: Tensor | None = None
) -> Sequence[Tensor]:
    """Where the paths to some rows begin: (k, D) each, one of a single baseline, a few of a background.

    Of a background, those are taken first whose score lies farthest to the side that a gap (k,) points to: there,
    the score changes most in the way that the gradients leave out.
    """
    if not session.baselines.bound(baseline).is_several:
        return [block.reference(baseline)[rows]]
    background = block.background(baseline)
    count = min(ROW_PATHS, len(background))
    if gap is None or block.rows.context:
        sample = block.rows.sample.to(rows.device)[rows]
        return [background[(sample * count + k) % len(background)] for k in range(count)]
    scores = session.scorer.scores(background, {})[:, block.rows.target[rows]]
    return list(background[(scores * gap.sign()).topk(count, dim=0).indices])
