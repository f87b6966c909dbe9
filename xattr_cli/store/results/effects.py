"""What a population engine left about the whole dataset: named arrays, read when they are asked for."""

from __future__ import annotations

import h5py
import numpy as np

from ...errors import ResultError, suggestion
from ..axes import is_only_an_axis
from .arrays import RowChoice, dataset, mapping, names_in, plain, read_any, read_rows, texts

__all__ = ["EffectResults"]


class EffectResults:
    """What a population engine left about the whole dataset.

    Attributes:
        label: the engine's key in the job.
        engine: the engine's name.
        options: its options, with every default spelled out.
        evaluations: of the network.
        converged: whether the tolerance was reached.
        warnings: what the engine had to say about its numbers.
    """

    def __init__(self, group: h5py.Group) -> None:
        self._group = group
        self.label: str = group.name.rsplit("/", 1)[-1]
        self.engine = str(group.attrs.get("engine", self.label))
        self.options = mapping(group.attrs.get("options"))
        self.evaluations = int(group.attrs.get("evaluations", 0))
        self.converged = bool(group.attrs.get("converged", True))
        self.warnings = tuple(filter(None, str(plain(group.attrs.get("warnings", ""))).splitlines()))

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of all arrays and texts."""
        return names_in(self._group)

    def __contains__(self, name: str) -> bool:
        return name in self._group and not is_only_an_axis(self._group[name])

    def values(self, name: str) -> np.ndarray:
        """(*shape) an array.

        Raises:
            ResultError: there is none of that name, or it is damaged.
        """
        if name not in self:
            where = f"{self._group.file.filename}: {self._group.name}"
            raise ResultError(f"{where}: no array {name!r}.{suggestion(name, self.names)}")
        data = dataset(self._group, name)
        return np.asarray(data[()]) if data.ndim == 0 else read_rows(data, slice(None))

    def axes_of(self, name: str) -> tuple[str, ...]:
        """Labels of an array's axes, '' where the file has none."""
        return tuple(axis.label for axis in dataset(self._group, name).dims)

    def read(self, name: str, rows: RowChoice | None = None) -> np.ndarray:
        """(*shape) any array, or the chosen entries of its first axis; texts as an array of str."""
        return read_any(self._group, name, rows)

    def texts(self, name: str) -> tuple[str, ...]:
        """The strings of a dataset; empty if there is none."""
        return texts(self._group, name)

    @property
    def target_names(self) -> tuple[str, ...]:
        """(targets,) names of the outputs that were studied."""
        return self.texts("target_names")

    @property
    def targets(self) -> np.ndarray:
        """(targets,) numbers of the outputs that were studied."""
        return self.values("targets")

    @property
    def importance(self) -> np.ndarray | None:
        """(D,) or (D, targets) importance of every feature, not negative; None if the engine ranks none."""
        return self.values("importance") if "importance" in self else None
