"""Candidates: whatever ranks the units of a row, be it a map of the row or an index for all rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import JobError
from ..numerics.faithfulness.units import Units
from ..samples import Layout
from ..store.results.reader import EngineResults

__all__ = ["CONTROL", "Candidate", "GlobalIndex", "LocalMap", "mean_magnitude"]

CONTROL = "(random)"
"""Name of the control: random numbers as a map. No engine can be called so."""

_BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class LocalMap:
    """The maps of one engine: each row has its own ranking.

    Attributes:
        name: the engine's label.
        engine: where the maps are.
        layout: how they lie in a flat row.
        units: what is ranked.
    """

    name: str
    engine: EngineResults
    layout: Layout
    units: Units
    scope: str = "local"

    def attribution(self, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(rows, units) float64 of some rows; NaN in rows that were quarantined.

        Arguments:
            positions: (rows,) positions in the file.
            targets: (rows,) the explained outputs.
        """
        pieces = [self.engine.attribution(positions, spec.name) for spec in self.layout.specs]
        flat = np.concatenate([piece.reshape(len(piece), -1) for piece in pieces], axis=1)
        return self.units.totals(flat)


@dataclass(frozen=True)
class GlobalIndex:
    """An index of importance: one ranking for all rows with the same target.

    Attributes:
        name: the engine's label, or what else says where the index comes from.
        importance: (units,) for all targets, or (units, targets).
        studied: (targets,) number of the output that each column is about.
    """

    name: str
    importance: np.ndarray
    studied: np.ndarray
    scope: str = "global"

    def attribution(self, positions: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(rows, units) float64: the importances for each row's target.

        Raises:
            JobError: a target that the index does not know.
        """
        if self.importance.ndim == 1:
            return np.broadcast_to(self.importance, (len(targets), len(self.importance)))
        column = {int(target): place for place, target in enumerate(self.studied)}
        missing = next((int(target) for target in targets if int(target) not in column), None)
        if missing is not None:
            raise JobError(
                f"{self.name!r} has no importances for output {missing}, only for "
                f"{', '.join(map(str, column))}. Evaluate others, by --engine."
            )
        return self.importance.T[[column[int(target)] for target in targets]]


Candidate = LocalMap | GlobalIndex


def mean_magnitude(maps: LocalMap, targets: np.ndarray) -> GlobalIndex:
    """The mean |attribution| of each unit over all rows of a file with the same target, as an index.

    Arguments:
        maps: of one engine; rows that were quarantined do not count.
        targets: (rows,) the explained outputs of all rows of the file.
    """
    studied, column = np.unique(targets, return_inverse=True)
    sums, counts = np.zeros((len(studied), maps.units.count)), np.zeros((len(studied), 1))
    size = max(1, _BLOCK_BYTES // (8 * maps.layout.size))
    for start in range(0, len(targets), size):
        positions = np.arange(start, min(start + size, len(targets)))
        magnitude = np.abs(maps.attribution(positions, targets[positions]))
        usable = np.isfinite(magnitude).all(axis=1)
        np.add.at(sums, column[positions][usable], magnitude[usable])
        np.add.at(counts, column[positions][usable], 1.0)
    return GlobalIndex(f"{maps.name} (mean)", (sums / np.maximum(counts, 1)).T, studied)
