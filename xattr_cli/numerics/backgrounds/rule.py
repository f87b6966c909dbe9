"""How a background is drawn from as a whole, and when that is enough."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MOST_BASELINES", "BackgroundRule", "first_round", "units_of"]

MOST_BASELINES = 256
FEWEST_DRAWS = 32


@dataclass(frozen=True)
class BackgroundRule:
    """When to stop.

    Attributes:
        rtol: relative error at which a row stops.
        max_draws: no row evaluates more gradients than this.
        seed: of the job.

    Example:
        >>> BackgroundRule(rtol=0.05, max_draws=4096, seed=0).rtol
        0.05
    """

    rtol: float
    max_draws: int
    seed: int


def first_round(baselines: int) -> int:
    """Draws of the first round.

    Example:
        >>> first_round(100), first_round(10)
        (200, 80)
    """
    return 2 * units_of(baselines)


def units_of(baselines: int) -> int:
    """Strata: the baselines, each as often as it takes for enough draws.

    Example:
        >>> units_of(100), units_of(10)
        (100, 40)
    """
    return baselines * -(-FEWEST_DRAWS // baselines)
