"""What an evaluation takes whose metrics have maps made again: said before it begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..metrics import Metric
from .candidates import LocalMap

__all__ = ["Remaking"]


@dataclass(frozen=True)
class Remaking:
    """Maps that are made again.

    Attributes:
        maps: of a row, by each engine; with that of the row as it is.
        rows: how many.
        evaluations: label -> of the network, if every map takes what the one in the file took.

    Example:
        >>> print(Remaking(11, 200, {"saliency": 2_200, "expected_gradients": 2_940_000}))
        makes 11 maps of each of 200 rows again, about 2,940,000 evaluations, most of them (100%) by \
expected_gradients; --engine and --limit leave some out
    """

    maps: int
    rows: int
    evaluations: Mapping[str, int]

    @classmethod
    def of(
        cls, metrics: Sequence[Metric], engines: Mapping[str, LocalMap], layers: int, positions: np.ndarray
    ) -> Remaking:
        """Those that some metrics ask for.

        Arguments:
            metrics: with all their options.
            engines: label -> maps in the file.
            layers: number of layers with weights.
            positions: (rows,) of the rows in the file.
        """
        asked: dict[str, int] = {}
        for metric in metrics:
            asked |= metric.made_again(layers)
        maps = sum(asked.values()) + bool(asked)
        spent = {name: maps * int(one.engine.evaluations[positions].sum()) for name, one in engines.items()}
        return cls(maps, len(positions), spent)

    def share_of(self, made: int) -> float:
        """How much is done, from 0 to 1, when so many maps of a block are made: a map is as dear as any other."""
        return min(1.0, made / max(1, self.maps * len(self.evaluations)))

    def __str__(self) -> str:
        total, dearest = sum(self.evaluations.values()), max(self.evaluations, key=lambda k: self.evaluations[k])
        share = self.evaluations[dearest] / max(1, total)
        by = f", most of them ({share:.0%}) by {dearest}" if len(self.evaluations) > 1 and share > 0.5 else ""
        digits = 10 ** max(0, len(str(total)) - 3)
        return (
            f"makes {self.maps} maps of each of {self.rows:,} rows again, about "
            f"{round(total / digits) * digits:,} evaluations{by}; --engine and --limit leave some out"
        )
