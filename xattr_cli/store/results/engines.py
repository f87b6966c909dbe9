"""What one engine left for every row: maps read by slices, error bars and costs as arrays."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import h5py
import numpy as np

from ...errors import ResultError, suggestion
from .arrays import RowChoice, dataset, items_in, mapping, names_in, plain, read_any, read_rows, row_blocks, texts
from .interactions import InteractionResults

__all__ = ["PER_ROW", "EngineResults"]

PER_ROW = ("score_input", "score_baseline", "completeness_gap", "relative_error", "evaluations", "status")

ALL = slice(None)


class EngineResults:
    """What one engine left for every row.

    Attributes:
        label: the engine's key in the job.
        engine: the engine's name.
        options: its options, with every default spelled out; `options_text` is the same as YAML.
        reduction: what made the `reduced` maps: "sum" or "l2" over embedding, feature or channel axes; "none"
            if there are none.
    """

    def __init__(self, group: h5py.Group, explained: str) -> None:
        self._group = group
        self._explained = explained  # name of the tensor where only one is explained
        self.label: str = group.name.rsplit("/", 1)[-1]
        self.engine = str(group.attrs.get("engine", self.label))
        self.options_text = str(plain(group.attrs.get("options", "")))
        self.options = mapping(self.options_text)
        self.reduction = str(group.attrs.get("reduction", "none"))

    # --- one number per row ---

    @cached_property
    def score_input(self) -> np.ndarray:
        """(rows,) float64, score of the input."""
        return self._per_row("score_input")

    @cached_property
    def score_baseline(self) -> np.ndarray:
        """(rows,) float64, score of the baseline; NaN where the method has none."""
        return self._per_row("score_baseline")

    @cached_property
    def completeness_gap(self) -> np.ndarray:
        """(rows,) float64, sum of the map − (score_input − score_baseline); NaN where there is none."""
        return self._per_row("completeness_gap")

    @cached_property
    def relative_error(self) -> np.ndarray:
        """(rows,) float64, reported relative L2 error of the map; NaN where the method has none."""
        return self._per_row("relative_error")

    @cached_property
    def evaluations(self) -> np.ndarray:
        """(rows,) int64, gradients and scores that the row took."""
        return self._per_row("evaluations")

    @cached_property
    def status(self) -> np.ndarray:
        """(rows,) int8, of `Status`."""
        return self._per_row("status")

    @property
    def rtol(self) -> float | None:
        """The relative error that a row was asked to reach; None if the engine has no such option."""
        value = self.options.get("rtol")
        return float(value) if isinstance(value, int | float) else None

    @property
    def relative_gap(self) -> np.ndarray:
        """(rows,) float64, |completeness gap| relative to |score_input − score_baseline|; NaN for 0 / 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.abs(self.completeness_gap / (self.score_input - self.score_baseline)))

    # --- one map per row ---

    @cached_property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of each explained tensor; empty for an engine without maps."""
        return {name: tuple(data.shape[1:]) for name, data in self._by_tensor("attribution").items()}

    @cached_property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """Name -> axis labels of each explained tensor, '' where the file has none."""
        arrays = self._by_tensor("attribution").items()
        return {name: tuple(axis.label for axis in data.dims)[1:] for name, data in arrays}

    def attribution(self, rows: RowChoice = ALL, tensor: str | None = None) -> np.ndarray:
        """(chosen rows, *shape) of the map; `tensor` may be left out where only one is explained."""
        return read_rows(self._tensor("attribution", tensor), rows)

    def reduced(self, rows: RowChoice = ALL, tensor: str | None = None) -> np.ndarray:
        """(chosen rows, ...) of the map with a number per token, step or pixel; else the map itself."""
        name = "reduced" if "reduced" in self._group else "attribution"
        return read_rows(self._tensor(name, tensor), rows)

    def reduced_axes(self, tensor: str | None = None) -> tuple[str, ...]:
        """Axis labels of `reduced`, '' where the file has none."""
        name = "reduced" if "reduced" in self._group else "attribution"
        return tuple(axis.label for axis in self._tensor(name, tensor).dims)[1:]

    @property
    def has_reduced(self) -> bool:
        """Whether there is a map with a number per token, step or pixel beside the whole one."""
        return "reduced" in self._group

    @property
    def has_standard_error(self) -> bool:
        """Whether the method has a standard error for every number of a map."""
        return "standard_error" in self._group

    def standard_error(self, rows: RowChoice = ALL, tensor: str | None = None) -> np.ndarray | None:
        """(chosen rows, *shape) standard error of `attribution`; None if the method has none."""
        if "standard_error" not in self._group:
            return None
        return read_rows(self._tensor("standard_error", tensor), rows)

    def blocks(self, tensor: str | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows of the map, in slices of at most 32 MiB (and at least one row)."""
        return row_blocks(self._tensor("attribution", tensor))

    # --- values along the path ---

    @property
    def curves(self) -> tuple[str, ...]:
        """Names that `curve` reads; empty for engines that follow no path."""
        return tuple(items_in(self._group, "curve"))

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the curve `saturation`, in order."""
        return texts(self._group, "layers")

    @property
    def alpha(self) -> np.ndarray:
        """(alphas,) position on the path of every curve: 0 at the baseline, 1 at the input."""
        return read_rows(dataset(self._group, "alpha"), slice(None))

    @property
    def map_alpha(self) -> np.ndarray:
        """(k,) position on the path of `path_maps`; empty if the engine kept none."""
        if "map_alpha" not in self._group:
            return np.empty(0)
        return read_rows(dataset(self._group, "map_alpha"), slice(None))

    def curve(self, name: str, rows: RowChoice) -> np.ndarray:
        """(chosen rows, alphas), or (chosen rows, layers, alphas) for `saturation`."""
        return read_rows(dataset(self._group, f"curve/{name}"), rows)

    def path_maps(self, rows: RowChoice, tensor: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(chosen rows, k, *shape) twice: Δ ⊙ gradient at `map_alpha`, and its integral up to there."""
        return read_rows(self._tensor("maps", tensor), rows), read_rows(self._tensor("running", tensor), rows)

    # --- pairs of features ---

    @cached_property
    def interactions(self) -> InteractionResults | None:
        """Matrices of pairwise interactions; None for methods of first order."""
        return InteractionResults(self._group) if "interaction" in self._group else None

    def interaction(self, rows: RowChoice) -> np.ndarray:
        """(chosen rows, groups, groups), Γ of a second-order method.

        Raises:
            ResultError: the method is none.
        """
        return read_rows(dataset(self._group, "interaction"), rows)

    # --- how firm it is ---

    @property
    def stability(self) -> tuple[str, ...]:
        """Names of what `read` finds under `stability/`, such as "weights"; empty if it was not asked for."""
        arrays = items_in(self._group, "stability")
        return tuple(name for name in ("weights", "inputs", "randomised") if name in arrays)

    # --- where it lies ---

    def row_arrays(self) -> Iterator[h5py.Dataset]:
        """Every array with one entry per row.

        Raises:
            ResultError: one that each engine must have is missing.
        """
        for name in PER_ROW:
            yield dataset(self._group, name)
        for name in ("attribution", "reduced", "standard_error", "maps", "running"):
            yield from self._by_tensor(name).values()
        for name in self.curves:
            yield dataset(self._group, f"curve/{name}")
        if self.interactions is not None:
            yield from self.interactions.row_arrays()
        for name in self.stability:
            yield dataset(self._group, f"stability/{name}")

    # --- whatever it is ---

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of all arrays and texts."""
        return names_in(self._group)

    def axes_of(self, name: str) -> tuple[str, ...]:
        """Labels of the axes of any array, '' where the file has none; the first of values per row is "row"."""
        return tuple(axis.label for axis in dataset(self._group, name).dims)

    def read(self, name: str, rows: RowChoice | None = None) -> np.ndarray:
        """(*shape) any array, or the chosen rows of it; texts as an array of str."""
        return read_any(self._group, name, rows)

    def _per_row(self, name: str) -> np.ndarray:
        return read_rows(dataset(self._group, name), slice(None))

    def _by_tensor(self, name: str) -> dict[str, h5py.Dataset]:
        item = self._group.get(name)
        return {self._explained: item} if isinstance(item, h5py.Dataset) else items_in(self._group, name)

    def _tensor(self, name: str, tensor: str | None) -> h5py.Dataset:
        arrays = self._by_tensor(name)
        if tensor is None and len(arrays) == 1:
            return next(iter(arrays.values()))
        if tensor in arrays:
            return arrays[tensor]
        where = f"{self._group.file.filename}: {self._group.name}/{name}"
        if not arrays:
            raise ResultError(f"{where}: the engine {self.engine!r} leaves no such array.")
        raise ResultError(f"{where}: which tensor? {tensor!r} is none of them.{suggestion(tensor, arrays)}")
