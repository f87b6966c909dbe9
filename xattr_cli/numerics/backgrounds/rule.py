"""How a background is drawn from as a whole, and when that is enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["MOST_BASELINES", "MOST_GROUPS", "BackgroundRule", "first_round", "groups_of", "steps_of", "units_of"]

MOST_BASELINES = 256
FEWEST_DRAWS = 32
MOST_GROUPS, FEWEST_GROUPS = 32, 8
"""... of pairs of strata: all of them, and those that may tell the error."""
SHARES = (0.25, 0.375, 0.5, 0.75, 1.0)
"""Of the groups: many rows are good enough before all have twice the draws."""


@dataclass(frozen=True)
class BackgroundRule:
    """When to stop.

    Attributes:
        rtol: relative error at which a row stops.
        max_draws: no row evaluates more gradients than this.
        seed: of the job.
        memory_bytes: what may be held at once.

    Example:
        >>> BackgroundRule(rtol=0.05, max_draws=4096, seed=0).rtol
        0.05
    """

    rtol: float
    max_draws: int
    seed: int
    memory_bytes: int = 2**30


def first_round(baselines: int) -> int:
    """Draws of the first round, at most: every stratum once, and some of them once more.

    Example:
        >>> first_round(64), first_round(100), first_round(10)
        (80, 126, 56)
    """
    strata = units_of(baselines)
    pairs, groups = -(-strata // 2), groups_of(strata)
    return strata + 2 * -(-steps_of(groups)[0] * pairs // groups)


def units_of(baselines: int) -> int:
    """Strata: the baselines, each as often as it takes for enough draws; in pairs, if more than once.

    Example:
        >>> units_of(100), units_of(12), units_of(10)
        (100, 48, 40)
    """
    pairs = -(-FEWEST_DRAWS // (2 * baselines))
    return baselines if baselines >= FEWEST_DRAWS else 2 * pairs * baselines


def groups_of(strata: int) -> int:
    """Groups of pairs of strata, each of which gets more draws as a whole.

    Example:
        >>> groups_of(100), groups_of(40)
        (32, 20)
    """
    return min(MOST_GROUPS, -(-strata // 2))


def steps_of(groups: int) -> tuple[int, ...]:
    """Numbers of groups that have twice the draws of the others, one after another, until all have.

    Example:
        >>> steps_of(32), steps_of(16)
        ((8, 12, 16, 24, 32), (8, 12, 16))
    """
    wanted = (max(FEWEST_GROUPS, math.ceil(share * groups)) for share in SHARES)
    return tuple(sorted({min(step, groups) for step in wanted}))
