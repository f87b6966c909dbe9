"""Choosing candidates: what in a file, or beside it, ranks features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import JobError, suggestion
from ..metrics import CONTROL
from ..numerics.faithfulness.units import Units
from ..samples import Layout
from ..store.results.arrays import BLOCK_BYTES
from ..store.results.reader import EffectResults, EngineResults, Results
from .inquiry import EvaluationOptions

__all__ = [
    "Candidate",
    "GlobalIndex",
    "LocalMap",
    "choose_candidates",
    "mean_magnitude",
    "read_importance",
]


def choose_candidates(
    results: Results, inquiry: EvaluationOptions, layout: Layout, units: Units
) -> list[Candidate]:
    """What ranks features, in the order of the job, and after it what was given beside the file.

    Arguments:
        results: the open file.
        inquiry: names engines; none for all that have maps or importances.
        layout, units: of the flat rows.

    Raises:
        JobError: an unknown label, an engine that ranks nothing, or none that does; a map or an importance
            of another shape than the inputs.
    """
    chosen = _Chooser(results, layout, units)
    candidates: list[Candidate] = []
    for label in chosen.labels() if inquiry.engines is None else dict.fromkeys(inquiry.engines):
        candidates += chosen.named(label, must_rank=inquiry.engines is not None)
    if inquiry.averages:
        maps = [one for one in candidates if isinstance(one, LocalMap)]
        candidates += [mean_magnitude(one, results.rows.target) for one in maps]
    known = {CONTROL, *(one.name for one in candidates)}
    for name, importance in inquiry.importances.items():
        if name in known:
            raise JobError(f"--importance {name}: the name is taken; choose another one.")
        candidates.append(chosen.index(name, f"--importance {name}:", np.asarray(importance)))
    if not candidates:
        listed = f" ({', '.join(chosen.labels())})" if chosen.labels() else ""
        raise JobError(f"{results.path}: holds no maps and no importances that could be evaluated{listed}.")
    return candidates


def read_importance(text: str) -> tuple[str, np.ndarray]:
    """Name and importances of `NAME=FILE`, where FILE is a .npy of shape (D,) or (D, outputs).

    Raises:
        JobError: not of that form, or not such a file.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise JobError(f"--importance {text!r}: must look like NAME=FILE.npy")
    try:
        importance = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise JobError(f"--importance {text}: cannot be read: {error}") from error
    if not isinstance(importance, np.ndarray) or importance.dtype.kind not in "fiu":
        raise JobError(f"--importance {text}: holds no array of numbers; give a .npy file.")
    return name, importance.astype(np.float64)


class _Chooser:
    """Finds what an engine's label stands for."""

    def __init__(self, results: Results, layout: Layout, units: Units) -> None:
        self._results = results
        self._layout = layout
        self._units = units

    def labels(self) -> list[str]:
        """Labels of all engines."""
        engines: Mapping[str, object] = self._results.engines
        return [*engines, *(label for label in self._results.effects if label not in engines)]

    def named(self, name: str, *, must_rank: bool) -> list[Candidate]:
        """The maps and importances of an engine, or by LABEL/VALUE another array that it left for all rows."""
        label, slash, value = name.partition("/")
        if label not in self.labels():
            raise JobError(f"{self._results.path}: no engine {label!r}.{suggestion(label, self.labels())}")
        if slash:
            return [self._value(label, value)]
        candidates = list(self._of(label))
        if must_rank and not candidates:
            effect = self._results.effects.get(label)
            others = "" if effect is None else f" It left {', '.join(effect.names)}; name one as {label}/NAME."
            raise JobError(
                f"{self._results.path}: engine {label!r} has neither maps nor importances: nothing ranks "
                f"features.{others}"
            )
        return candidates

    def _of(self, label: str) -> Iterator[Candidate]:
        engine = self._results.engines.get(label)
        has_maps = engine is not None and bool(engine.tensors)
        if engine is not None and has_maps:
            self._check_tensors(engine)
            yield LocalMap(label, engine, self._layout, self._units)
        effect = self._results.effects.get(label)
        importance = None if effect is None else effect.importance
        if effect is not None and importance is not None:
            yield self._effect(f"{label} (global)" if has_maps else label, effect, "importance", importance)

    def _value(self, label: str, value: str) -> GlobalIndex:
        effect = self._results.effects.get(label)
        if effect is None:
            raise JobError(f"{self._results.path}: engine {label!r} left nothing for all rows, so no {value!r}.")
        return self._effect(f"{label}/{value}", effect, value, effect.values(value))

    def _effect(self, name: str, effect: EffectResults, value: str, importance: np.ndarray) -> GlobalIndex:
        where = f"{self._results.path}: {value!r} of engine {effect.label!r}"
        return self.index(name, where, importance, effect.targets)

    def index(
        self, name: str, where: str, importance: np.ndarray, studied: np.ndarray | None = None
    ) -> GlobalIndex:
        """An index from importances of flat features.

        Arguments:
            name: of the candidate.
            where: what holds the importances; begins an error.
            importance: (D,) or (D, targets).
            studied: (targets,) output of each column; None for all, in order.

        Raises:
            JobError: they do not fit the inputs, or are not finite numbers.
        """
        size, shape = self._layout.size, importance.shape
        if importance.ndim not in (1, 2) or len(importance) != size:
            raise JobError(
                f"{where} has shape {shape}; an index of the features has ({size},), or a column per output."
            )
        if importance.dtype.kind not in "fiu" or not np.isfinite(importance).all():
            raise JobError(f"{where} does not hold finite numbers only.")
        studied = np.arange(shape[-1]) if studied is None else studied
        if importance.ndim == 2 and shape[1] != len(studied):
            raise JobError(f"{where} has {shape[1]} columns for {len(studied)} outputs.")
        totals = self._units.totals(np.atleast_2d(importance.T))
        return GlobalIndex(name, totals[0] if importance.ndim == 1 else totals.T, studied)

    def _check_tensors(self, engine: EngineResults) -> None:
        explained_now = {spec.name: tuple(spec.shape) for spec in self._layout.specs}
        if engine.tensors != explained_now:
            raise JobError(
                f"{self._results.path}: engine {engine.label!r} explains {_shapes(engine.tensors)}, but the "
                f"dataset now delivers {_shapes(explained_now)}. Evaluate the maps on the data that they explain."
            )


def _shapes(tensors: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in tensors.items())


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
        return self.units.totals(self.numbers(positions))

    def numbers(self, positions: np.ndarray) -> np.ndarray:
        """(rows, D) of some rows: the maps before they are added up to units."""
        pieces = [self.engine.attribution(positions, spec.name) for spec in self.layout.specs]
        return np.concatenate([piece.reshape(len(piece), -1) for piece in pieces], axis=1)


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
    size = max(1, BLOCK_BYTES // (8 * maps.layout.size))
    for start in range(0, len(targets), size):
        positions = np.arange(start, min(start + size, len(targets)))
        magnitude = np.abs(maps.attribution(positions, targets[positions]))
        usable = np.isfinite(magnitude).all(axis=1)
        np.add.at(sums, column[positions][usable], magnitude[usable])
        np.add.at(counts, column[positions][usable], 1.0)
    return GlobalIndex(f"{maps.name} (mean)", (sums / np.maximum(counts, 1)).T, studied)
