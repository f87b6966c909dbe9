"""The small real datasets that scikit-learn brings along, split and scaled alike for training and jobs."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..fingerprint import fingerprint_arrays
from ..registry import DATASETS
from ..samples import InputSpec
from .base import DatasetSource, Samples
from .classes.labels import as_labels
from .columns import ArraySamples, Column
from .files import optional
from .scaling import default_axes, nonzero_scale

__all__ = ["Builtin"]

Scale = Literal["none", "standard", "minmax", "unit"]
_SPLIT_SEED = 0
_DIGITS_MAX = 16.0


@DATASETS.register("builtin", "sklearn", "scikit_learn")
class Builtin(DatasetSource):
    """A real dataset of scikit-learn, read from its package; the split is the same everywhere.

    Statistics for the scale are those of the training part, whatever `split` is asked for.
    """

    name: Literal["digits", "breast_cancer", "iris", "wine", "diabetes"] = Field(
        description="digits are pictures (1, 8, 8); the others tables"
    )
    split: Literal["all", "train", "test"] = Field(
        default="all", description="parts of a shuffle, stratified by class"
    )
    test_fraction: float = Field(default=0.25, gt=0, lt=1, description="share of the test part")
    scale: Scale | None = Field(
        default=None,
        description="standard: mean 0, deviation 1; minmax: 0 to 1; unit: greatest magnitude 1 (for digits, "
        "pixel / 16); null means unit for digits, standard for tables",
    )

    def open(self) -> Samples:
        """Load, split and scale.

        Raises:
            DataError: scikit-learn is not installed.
        """
        bunch = self._load()
        is_digits = self.name == "digits"
        values = np.asarray(bunch.images[:, None] if is_digits else bunch.data, dtype=np.float64)
        train, test = self._split(bunch.target)
        rows = {"all": np.arange(len(values)), "train": train, "test": test}[self.split]
        offset, scale = self._scaling(values[train])
        shape = values.shape[1:]
        features = () if is_digits else tuple(str(name) for name in bunch.feature_names)
        spec = InputSpec("X", shape, np.dtype(np.float32), default_axes(shape), features, offset, scale)
        classes = tuple(str(name) for name in getattr(bunch, "target_names", ()))
        labels = as_labels(bunch.target[rows], "dataset.name", self.known_classes or classes)
        return ArraySamples(
            [Column(spec, values[rows])],
            labels,
            fingerprint=fingerprint_arrays([values[rows], labels.values]),
            keys=[f"{self.name}-{row}" for row in rows],
        )

    def _load(self) -> Any:
        library = optional("sklearn.datasets", needed_by="dataset kind 'builtin'", install="xattr-cli[builtin]")
        if self.name == "diabetes":
            return library.load_diabetes(scaled=False)
        return getattr(library, f"load_{self.name}")()

    def _split(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the training and of the test part, shuffled."""
        selection = optional(
            "sklearn.model_selection", needed_by="dataset kind 'builtin'", install="xattr-cli[builtin]"
        )
        train, test = selection.train_test_split(
            np.arange(len(target)),
            test_size=self.test_fraction,
            random_state=_SPLIT_SEED,
            stratify=None if self.name == "diabetes" else target,
        )
        return train, test

    def _scaling(self, train: np.ndarray) -> tuple[np.ndarray | None, np.ndarray | None]:
        kind = self.scale or ("unit" if self.name == "digits" else "standard")
        if kind == "none":
            return None, None
        if kind == "standard":
            return train.mean(axis=0), nonzero_scale(train.std(axis=0))
        if kind == "minmax":
            low = train.min(axis=0)
            return low, nonzero_scale(train.max(axis=0) - low)
        if self.name == "digits":
            return np.zeros(train.shape[1:]), np.full(train.shape[1:], _DIGITS_MAX)
        return np.zeros(train.shape[1:]), nonzero_scale(np.abs(train).max(axis=0))
