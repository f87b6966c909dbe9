"""A network whose second derivatives exist and mean something: smoothed, repaired, and timed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ...models.repairs import find_repairs
from ...models.surgery.smoothing import smoothed
from ..execution.runner import Execution
from ..packing import Packing
from ..scorer import Rows, Scorer
from .autotune import fastest_way
from .field import CurvedField, SecondOrder
from .kinks import Kink, check_curved, locate_kinks

__all__ = ["CurvedNetwork", "Smoothing", "find_curvature", "follow_ways", "settled_ways"]

PROBE_ROWS = 4


@dataclass(frozen=True)
class Smoothing:
    """What is done about kinks, where second derivatives are blind.

    Attributes:
        beta: sharpness of the softplus that stands for a ReLU; None leaves the network as it is.
        refuse: a network with kinks is an error.
        allow: kinks to accept, by operation or by "layer.operation".
    """

    beta: float | None = 10.0
    refuse: bool = False
    allow: tuple[str, ...] = ()

    def allows(self, kink: Kink) -> bool:
        """Whether a kink is accepted."""
        return not {kink.operation, f"{kink.layer}.{kink.operation}"}.isdisjoint(self.allow)


@dataclass(frozen=True)
class CurvedNetwork:
    """A network ready for second derivatives.

    Attributes:
        scorer: of the network, or of what stands for it without kinks.
        how: its second derivatives are computed.
        is_smoothed: whether it is another function than the network itself.
        replaced, repaired: what was done, for the record.
    """

    scorer: Scorer
    how: SecondOrder
    is_smoothed: bool
    replaced: tuple[str, ...]
    repaired: tuple[str, ...]

    def field(self, rows: Rows) -> CurvedField:
        """Scores and second derivatives about a block of rows."""
        return CurvedField(self.scorer, rows, self.how)

    def packed(self, packing: Packing) -> CurvedNetwork:
        """The same, in device calls of another size."""
        return replace(self, scorer=replace(self.scorer, packing=packing))


def find_curvature(scorer: Scorer, rows: Rows, smoothing: Smoothing, directions: int) -> CurvedNetwork:
    """Make a network ready, on the first rows of a job that ask for it.

    Arguments:
        scorer: the network; its module is not touched, and it remembers what was found.
        rows: some.
        smoothing: what is done about kinks.
        directions: along which each point is differentiated.

    Raises:
        ModelError: it has kinks that cannot be smoothed, or no second derivatives.
    """
    known = scorer.curvatures
    key = f"{directions} directions, {smoothing}"
    if key not in known:
        known[key] = _find(scorer, rows, smoothing, directions)
    return known[key]  # type: ignore[no-any-return]


def settled_ways(scorer: Scorer) -> dict[str, Any]:
    """How second derivatives are computed, as it was settled by timing: for the record, and for resumes."""
    return {key: asdict(curvature.how) for key, curvature in scorer.curvatures.items()}


def follow_ways(scorer: Scorer, settled: Mapping[str, Any]) -> None:
    """Compute second derivatives as an earlier run has settled, so that rows get the same bits."""
    for key, curvature in scorer.curvatures.items():
        if key in settled:
            curvature.how.follow(**settled[key])


def _find(scorer: Scorer, rows: Rows, smoothing: Smoothing, directions: int) -> CurvedNetwork:
    first = rows.take(slice(0, PROBE_ROWS))
    trial = _Forward(_repaired(scorer, scorer.module, first), first)
    is_smoothed = _wants_smoothing(trial, smoothing)
    replaced: tuple[str, ...] = ()
    if is_smoothed:
        without_kinks = smoothed(scorer.module, float(smoothing.beta or 0), _explained(scorer))
        trial = _Forward(_repaired(scorer, without_kinks, first), first)
        left = trial.check(smoothing)
        replaced = (*without_kinks.replacements, *(f"left as it is: {kink}" for kink in left))
    how = fastest_way(trial.scorer, first.inputs, first.context, first.target, directions)
    return CurvedNetwork(trial.scorer, how, is_smoothed, replaced, trial.scorer.repairs.notes)


def _wants_smoothing(trial: _Forward, smoothing: Smoothing) -> bool:
    """Whether the network has kinks that are neither allowed nor to be left alone."""
    if smoothing.refuse:
        trial.check(smoothing)
    return smoothing.beta is not None and any(not smoothing.allows(kink) for kink in trial.kinks())


def _repaired(scorer: Scorer, module: nn.Module, rows: Rows) -> Scorer:
    """The same door to another module, or to the same one, differentiable twice."""
    other = replace(scorer, module=module, execution=Execution())
    forward = _Forward(other, rows)
    return replace(other, repairs=find_repairs(module, forward.outputs, forward.points))


def _explained(scorer: Scorer) -> list[int] | None:
    """Positions of the explained arguments of the network; None where tensors inside it are explained."""
    names = {spec.name for spec in scorer.layout.specs}
    return None if scorer.sites else [i for i, spec in enumerate(scorer.inputs) if spec.name in names]


class _Forward:
    """One forward pass of some rows, as a network is probed with."""

    def __init__(self, scorer: Scorer, rows: Rows) -> None:
        count = scorer.packing.rows if scorer.packing.fixed else len(rows)
        self.scorer = scorer
        self.points, self.context = scorer.fill(rows.inputs, rows.context, count)

    def outputs(self, points: Tensor) -> Tensor:
        """Of the network at the points given; copies, since it may write into its context."""
        return self.scorer.graded(points, {name: tensor.clone() for name, tensor in self.context.items()})

    def run(self) -> Tensor:
        """The outputs, with gradients."""
        with torch.enable_grad():
            return self.outputs(self.points.detach().clone().requires_grad_())

    def kinks(self) -> tuple[Kink, ...]:
        """Where the network has kinks."""
        with self.scorer.exact_arithmetic():
            return locate_kinks(self.scorer.module, self.run)

    def check(self, smoothing: Smoothing) -> tuple[Kink, ...]:
        """The kinks that are allowed; any other is an error."""
        with self.scorer.exact_arithmetic():
            return check_curved(self.scorer.module, self.run, smoothing.allow)
