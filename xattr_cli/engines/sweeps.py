"""Which sweeps a job needs: the demands of all its engines, merged so that equal paths are swept once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from .demands import Demands, PathDemand

__all__ = ["SweepKey", "merge_demands", "sweep_key"]

SweepKey = tuple[Any, ...]


def sweep_key(demand: PathDemand) -> SweepKey:
    """Demands of equal key lie on the same paths and the same nodes, and are served by one sweep."""
    baseline = json.dumps(demand.baseline.model_dump(mode="json"), sort_keys=True)
    return (baseline, demand.rule, demand.nodes) if demand.nodes else (baseline, demand.rule, demand.warp)


def merge_demands(demands: Iterable[Demands]) -> dict[SweepKey, PathDemand]:
    """One demand per sweep, as exacting as the most exacting of those it serves."""
    merged: dict[SweepKey, PathDemand] = {}
    for wanted in demands:
        if wanted.path is not None:
            key = sweep_key(wanted.path)
            merged[key] = _merge(merged[key], wanted.path) if key in merged else wanted.path
    return merged


def _merge(one: PathDemand, other: PathDemand) -> PathDemand:
    return replace(
        one,
        rtol=min(one.rtol, other.rtol),
        max_nodes=max(one.max_nodes, other.max_nodes),
        intervals=_common_intervals(one, other),
        curves=one.curves or other.curves,
        marks=tuple(sorted({*one.marks, *other.marks})),
    )


def _common_intervals(one: PathDemand, other: PathDemand) -> int:
    """The first trapezoid must contain the nodes of every curve; whoever wants no curve takes any."""
    wishes = [demand.intervals for demand in (one, other) if demand.curves]
    if len(wishes) == 2:
        return max(wishes) if max(wishes) % min(wishes) == 0 else wishes[0] * wishes[1]
    return wishes[0] if wishes else max(one.intervals, other.intervals)
