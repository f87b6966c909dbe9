"""Complexity: on how few units does a map concentrate?"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from ..numerics.faithfulness.concentration import count_above, entropy, gini
from ..registry import METRICS
from .base import Bench, Metric

__all__ = ["Complexity", "EffectiveComplexity", "Sparseness"]


@METRICS.register("sparseness")
class Sparseness(Metric):
    """Gini index of the magnitudes of a map: 0 if all units have the same, 1 − 1/U if one of U has all.

    Reference: Chalasani et al. 2020, arXiv 1810.06583.
    """

    family = "complexity"
    higher_is_better = True
    left_out = "a map was quarantined, or is zero everywhere"

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) in [0, 1)."""
        return gini(bench.attributions[name])


@METRICS.register("complexity")
class Complexity(Metric):
    """Entropy of the shares |a_i| / Σ|a|, in nats: 0 if one unit has all, log U if all have the same.

    Reference: Bhatt et al. 2020, arXiv 2005.00631.
    """

    family = "complexity"
    higher_is_better = False
    left_out = "a map was quarantined, or is zero everywhere"

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) in [0, log U]."""
        return entropy(bench.attributions[name])


@METRICS.register("effective_complexity")
class EffectiveComplexity(Metric):
    """Number of units whose magnitude is above a small share of the row's largest.

    Reference: Nguyen and Martínez 2020, arXiv 2007.07584; counted by magnitude, not by what leaving out costs.
    """

    family = "complexity"
    higher_is_better = False

    threshold: float = Field(default=1e-5, ge=0, lt=1, description="share of the row's largest magnitude")

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) whole numbers."""
        return count_above(bench.attributions[name], self.threshold)
