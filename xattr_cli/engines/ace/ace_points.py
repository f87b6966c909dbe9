"""Points at which features have been set: what interventions make of the rows of a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from ...device import Scorer
    from ...numerics.interventions.interventions import Interventions

__all__ = ["Setter", "repeated"]


class Setter:
    """Sets features in rows on the device.

    Arguments:
        interventions: which coordinates, and the values of each α.
        scorer: whose device the rows are on.
    """

    def __init__(self, interventions: Interventions, scorer: Scorer) -> None:
        self._members = scorer.tensor(interventions.member)
        self._values = scorer.tensor(np.nan_to_num(interventions.value))
        self._slices = interventions.slices

    def set(self, rows: Tensor, feature: int, alpha: Tensor) -> None:
        """Set one feature of some rows (k, D), in place, to its α number (k,)."""
        members = self._slices[feature]
        rows[:, self._members[members]] = self._values[members][:, alpha].T

    def clear(self, rows: Tensor, feature: int) -> None:
        """Set the coordinates of one feature to zero, in place."""
        rows[:, self._members[self._slices[feature]]] = 0.0


def repeated(context: Mapping[str, Tensor], times: int) -> dict[str, Tensor]:
    """The context of rows each of which is repeated."""
    return {name: tensor.repeat_interleave(times, dim=0) for name, tensor in context.items()}
