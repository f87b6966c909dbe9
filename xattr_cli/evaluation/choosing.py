"""Choosing candidates: what in a file, or beside it, ranks features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ..errors import JobError, suggestion
from ..numerics.faithfulness.units import Units
from ..samples import Layout
from ..store.results.reader import EffectResults, EngineResults, Results
from .candidates import CONTROL, Candidate, GlobalIndex, LocalMap, mean_magnitude
from .inquiry import Inquiry

__all__ = ["choose_candidates", "read_importance"]


def choose_candidates(results: Results, inquiry: Inquiry, layout: Layout, units: Units) -> list[Candidate]:
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
    found: list[Candidate] = []
    for label in chosen.labels() if inquiry.engines is None else dict.fromkeys(inquiry.engines):
        found += chosen.named(label, must_rank=inquiry.engines is not None)
    if inquiry.averages:
        maps = [one for one in found if isinstance(one, LocalMap)]
        found += [mean_magnitude(one, results.rows.target) for one in maps]
    known = {CONTROL, *(one.name for one in found)}
    for name, importance in inquiry.importances.items():
        if name in known:
            raise JobError(f"--importance {name}: the name is taken; choose another one.")
        found.append(chosen.index(name, f"--importance {name}:", np.asarray(importance)))
    if not found:
        listed = f" ({', '.join(chosen.labels())})" if chosen.labels() else ""
        raise JobError(f"{results.path}: holds no maps and no importances that could be evaluated{listed}.")
    return found


def read_importance(text: str) -> tuple[str, np.ndarray]:
    """Name and importances of `NAME=FILE`, where FILE is a .npy of shape (D,) or (D, outputs).

    Raises:
        JobError: not of that form, or not such a file.
    """
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise JobError(f"--importance {text!r}: must look like NAME=FILE.npy")
    try:
        found = np.load(Path(path), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise JobError(f"--importance {text}: cannot be read: {error}") from error
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "fiu":
        raise JobError(f"--importance {text}: holds no array of numbers; give a .npy file.")
    return name, found.astype(np.float64)


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
        found = list(self._of(label))
        if must_rank and not found:
            effect = self._results.effects.get(label)
            others = "" if effect is None else f" It left {', '.join(effect.names)}; name one as {label}/NAME."
            raise JobError(
                f"{self._results.path}: engine {label!r} has neither maps nor importances: nothing ranks "
                f"features.{others}"
            )
        return found

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
        wanted = {spec.name: tuple(spec.shape) for spec in self._layout.specs}
        if engine.tensors != wanted:
            raise JobError(
                f"{self._results.path}: engine {engine.label!r} explains {_shapes(engine.tensors)}, but the "
                f"dataset now delivers {_shapes(wanted)}. Evaluate the maps on the data that they explain."
            )


def _shapes(tensors: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in tensors.items())
