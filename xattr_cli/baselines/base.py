"""What a baseline is: options that, bound to a dataset, give every sample its reference point."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from ..datasets.base import Samples
from ..errors import DataError, suggestion
from ..registry import Plugin
from ..samples import Batch, InputSpec

__all__ = ["Baseline", "BoundBaseline", "FixedBaseline", "Units", "explained_specs", "model_units"]

Units = Literal["model", "original"]
"""Whether a value is what the network is given, or what the dataset held before it was scaled."""


class BoundBaseline(ABC):
    """A baseline that has met its dataset.

    Attributes:
        fingerprint: hash of what it read besides the dataset itself; empty if nothing.

    Example:
        >>> class Lowest(BoundBaseline):
        ...     def reference(self, batch):
        ...         return {name: np.zeros_like(values) + values.min() for name, values in batch.inputs.items()}
        >>> batch = Batch(np.arange(1), {"X": np.array([[3.0, 1.0]])})
        >>> Lowest().reference(batch)["X"].tolist()
        [[1.0, 1.0]]
    """

    fingerprint: str = ""

    @abstractmethod
    def reference(self, batch: Batch) -> dict[str, np.ndarray]:
        """One baseline per sample: name → (n, *shape), in the type of the batch's inputs.

        It depends on the sample, its position in the dataset and the seed only, never on the batch.

        Raises:
            DataError: there are several for all samples.
        """

    def background(self) -> dict[str, np.ndarray] | None:
        """The baselines that all samples share: name → (m, *shape), read-only; None if each has its own."""
        return None

    @property
    def is_several(self) -> bool:
        """Whether there is more than one baseline for all samples, so that no single one is that of a row."""
        shared = self.background()
        return shared is not None and any(len(values) > 1 for values in shared.values())


class Baseline(Plugin, ABC):
    """A kind of baseline in the job file; its fields are the options under `baseline:`.

    Example:
        >>> class Corner(Baseline):
        ...     '''One value everywhere.'''
        ...     value: float = -1.0
        ...     def bind(self, samples, seed, inputs=None):
        ...         specs = explained_specs(samples, inputs)
        ...         return FixedBaseline({spec.name: np.full(spec.shape, self.value) for spec in specs})
        >>> from xattr_cli.registry import DATASETS
        >>> with DATASETS.get("builtin")(name="iris").open() as samples:
        ...     Corner().bind(samples, seed=0).reference(samples.read(0, 1))["X"].tolist()
        [[-1.0, -1.0, -1.0, -1.0]]
    """

    @property
    def each(self) -> Sequence[Baseline]:
        """The baselines of a list; none if this is a single one."""
        return ()

    @abstractmethod
    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Prepare the baseline for a dataset.

        Arguments:
            samples: the dataset that is explained.
            seed: of every random draw; 0 ≤ seed < 2⁶³.
            inputs: the inputs that are explained; None for all that are floating.

        Raises:
            DataError: it cannot be read, or does not fit the inputs.
        """


class FixedBaseline(BoundBaseline):
    """The same baseline for every sample.

    Arguments:
        values: name → (*shape), in the units of the model.
        fingerprint: hash of the file they come from.

    Example:
        >>> batch = Batch(np.arange(2), {"X": np.ones((2, 3))})
        >>> FixedBaseline({"X": np.zeros(3)}).reference(batch)["X"].tolist()
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, values: Mapping[str, np.ndarray], fingerprint: str = "") -> None:
        self._values = dict(values)
        self.fingerprint = fingerprint

    def reference(self, batch: Batch) -> dict[str, np.ndarray]:
        return {
            name: np.broadcast_to(value, batch.inputs[name].shape).astype(batch.inputs[name].dtype)
            for name, value in self._values.items()
        }

    def background(self) -> dict[str, np.ndarray]:
        """The one baseline as a set: name → (1, *shape)."""
        return {name: value[np.newaxis] for name, value in self._values.items()}


def explained_specs(samples: Samples, inputs: Sequence[str] | None) -> tuple[InputSpec, ...]:
    """The inputs that need a baseline, in the dataset's order.

    Raises:
        DataError: an unknown input, or one of integers.

    Example:
        >>> from xattr_cli.registry import DATASETS
        >>> with DATASETS.get("builtin")(name="digits").open() as samples:
        ...     [(spec.name, spec.shape) for spec in explained_specs(samples, None)]
        [('X', (1, 8, 8))]
    """
    if inputs is None:
        return tuple(spec for spec in samples.inputs if spec.dtype.kind == "f")
    known = {spec.name: spec for spec in samples.inputs}
    for name in inputs:
        if name not in known:
            raise DataError(f"explain.inputs: the dataset has no input {name!r}.{suggestion(name, known)}")
        if known[name].dtype.kind != "f":
            raise DataError(
                f"explain.inputs: {name!r} is {known[name].dtype}; "
                "only floating inputs have gradients and baselines."
            )
    return tuple(spec for spec in samples.inputs if spec.name in inputs)


def model_units(values: np.ndarray, spec: InputSpec, units: Units) -> np.ndarray:
    """Values as the network is given them.

    Arguments:
        values: broadcasts against a sample, or (n, *shape).
        units: what `values` are in.

    Example:
        >>> pixels = InputSpec("X", (1,), np.dtype("float32"), offset=np.array([0.5]), scale=np.array([0.25]))
        >>> model_units(np.array([1.0]), pixels, "original").tolist()
        [2.0]
    """
    if units == "model" or spec.offset is None or spec.scale is None:
        return values
    converted: np.ndarray = (values - spec.offset) / spec.scale
    return converted
