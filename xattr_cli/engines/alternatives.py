"""Engines of several baselines: one for each of them, whose maps are averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import JobError
from .averaging import mean_explanation
from .base import Engine, Explanation, LocalEngine
from .sweeps import SweepRequest

__all__ = ["alternatives", "explain_alternatives", "path_requests"]


def alternatives(engine: LocalEngine) -> tuple[LocalEngine, ...]:
    """The engine with each of its baselines; itself if it has a single one, or none.

    Raises:
        JobError: it has several, and no mean over them.
    """
    each = getattr(getattr(engine, "baseline", None), "each", ())
    if not each:
        return (engine,)
    if engine.second_order:
        raise JobError(
            f"baseline: {engine.registered_name} takes a single one; name each in an engine of its own, or "
            "average over samples with expected_hessians."
        )
    return tuple(engine.model_copy(update={"baseline": one}) for one in each)


def path_requests(engines: Iterable[Engine]) -> list[SweepRequest | None]:
    """The sweeps that engines will ask for."""
    return [one.path() for engine in engines if isinstance(engine, LocalEngine) for one in alternatives(engine)]


def explain_alternatives(engine: LocalEngine, explain: Callable[[LocalEngine], Explanation]) -> Explanation:
    """What an engine finds; of several baselines, the mean over them and how far they are apart."""
    each = alternatives(engine)
    if len(each) == 1:
        return explain(engine)
    found, baseline = [explain(one) for one in each], engine.baseline  # type: ignore[attr-defined]
    names = tuple(_named(one) for one in baseline.each)
    starts = [one.score_baseline for one in found]
    return mean_explanation(found, names, word="baseline", scores=starts, keep=baseline.keep)


def _named(baseline: Any) -> str:
    changed = baseline.model_dump(mode="json", exclude_defaults=True)
    options = ", ".join(f"{name}: {value}" for name, value in changed.items() if name != "kind")
    return f"{baseline.registered_name} ({options})" if options else str(baseline.registered_name)
