"""What engines want evaluated before they are asked to explain, so that they can share it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Demands", "PathDemand"]


@dataclass(frozen=True)
class PathDemand:
    """A sweep over the straight paths from a baseline to each input.

    Engines of one job whose demands agree in baseline and rule share one sweep, made to serve the most
    exacting of them.

    Attributes:
        baseline: a `Baseline` plugin.
        rule: name of a fixed rule, or "nested" for the adaptive one.
        warp: power p of t = u^p for the nested rule.
        rtol: relative error at which a row stops (nested rule).
        max_nodes: most gradients per row (nested rule).
        intervals: of the first trapezoid (nested rule).
        nodes: of a fixed rule.
        curves: the values at the nodes of the first trapezoid are wanted.
        marks: path positions α up to which the running integral is wanted.
    """

    baseline: Any
    rule: str = "nested"
    warp: float = 2.0
    rtol: float = 0.05
    max_nodes: int = 512
    intervals: int = 4
    nodes: int = 0
    curves: bool = False
    marks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Demands:
    """What an engine wants evaluated before `explain` is called, so that engines can share it.

    Attributes:
        path: a sweep over paths, if it needs one.
        input_gradient: the gradient at the input itself.
    """

    path: PathDemand | None = None
    input_gradient: bool = False
