"""The words that models, datasets and engines share: what one input is, and how rows are laid out flat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from math import prod
from typing import Any, TypeVar

import numpy as np

__all__ = ["Batch", "FeatureGroups", "InputSpec", "Layout", "Status", "feature_names"]

Array = TypeVar("Array", bound=Any)  # numpy.ndarray or torch.Tensor: only slicing and reshape are used


@dataclass(frozen=True)
class InputSpec:
    """One input tensor of the model, as the dataset delivers it.

    Attributes:
        name: the dataset's name for it, such as "X".
        shape: of one sample, without the batch axis.
        dtype: numpy dtype of the stored values.
        axes: a label per axis of `shape`, such as ("channel", "height", "width").
        features: names along the last axis of a vector input, if it has any.
        offset, scale: model input = (original - offset) / scale, per feature or channel; None if
            the dataset hands over the original values. Plots use them to show original units.
        sequence: name of the padded sequence that the first axis runs along, such as "text"; its steps are
            in `Batch.real` and `Batch.tokens`. Empty if nothing is padded.
        pairs: the second axis runs along the same sequence: a row and a column per step.
        explainable: False for what only goes with the others: masks and lengths.
        argument: False for what the network is not given, such as the segment of a prompt that a token is of.
        categories: names of the values 0, 1, ... of an input of integers, if they have some.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    offset: np.ndarray | None = None
    scale: np.ndarray | None = None
    sequence: str = ""
    pairs: bool = False
    explainable: bool = True
    argument: bool = True
    categories: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Number of scalars in one sample."""
        return prod(self.shape)


@dataclass(frozen=True)
class Batch:
    """Some samples of a dataset.

    Attributes:
        index: (n,) int64, position of each sample in its dataset; its identity for seeds and files.
        inputs: name -> (n, *shape), in the order in which the model takes them.
        labels: (n,) class index (int64) or regression value (float64); None if the dataset has none.
        several: (n, k) labels where every sample has k of them; None elsewhere.
        keys: a printable name per sample, such as a file name; empty if there are none.
        real: sequence -> (n, steps) bool, False where a step is padding.
        tokens: sequence -> (n, steps) texts, what a step is called; empty where a step is padding.
        texts: name -> a text per sample that is shown beside its maps, such as the "smiles" of a molecule.
    """

    index: np.ndarray
    inputs: Mapping[str, np.ndarray]
    labels: np.ndarray | None = None
    several: np.ndarray | None = field(default=None, kw_only=True)
    keys: tuple[str, ...] = field(default=())
    real: Mapping[str, np.ndarray] = field(default_factory=dict)
    tokens: Mapping[str, np.ndarray] = field(default_factory=dict)
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def take(self, rows: np.ndarray) -> Batch:
        """The samples at some positions of this batch (int64), in that order."""
        return Batch(
            index=self.index[rows],
            inputs={name: values[rows] for name, values in self.inputs.items()},
            labels=None if self.labels is None else self.labels[rows],
            several=None if self.several is None else self.several[rows],
            keys=tuple(self.keys[row] for row in rows) if self.keys else (),
            real={name: mask[rows] for name, mask in self.real.items()},
            tokens={name: texts[rows] for name, texts in self.tokens.items()},
            texts={name: tuple(texts[row] for row in rows) for name, texts in self.texts.items()},
        )


class Status(IntEnum):
    """How the computation of a row ended, as files spell it."""

    CONVERGED = 0
    NOT_CONVERGED = 1
    QUARANTINED = 2
    INCONSISTENT = 3
    """The gradients do not add up to the score, far beyond the error bar: they are not those of this function."""
    NOT_JUDGED = 4
    """The engine has no tolerance, or was given a fixed number of nodes."""


@dataclass(frozen=True)
class Layout:
    """How the explained tensors of a sample lie in one flat row of D numbers.

    Attributes:
        specs: the explained inputs, in order.
    """

    specs: tuple[InputSpec, ...]

    @property
    def size(self) -> int:
        """D, the length of a row."""
        return sum(spec.size for spec in self.specs)

    def flatten(self, tensors: Mapping[str, Any]) -> list[Any]:
        """The explained tensors, each as (n, size of its spec); concatenate them to get rows.

        Works on numpy arrays and torch tensors alike, and copies nothing where it need not.
        """
        return [tensors[spec.name].reshape(len(tensors[spec.name]), -1) for spec in self.specs]

    def split(self, rows: Array) -> dict[str, Array]:
        """Rows (..., D) back to tensors: name -> (..., *shape)."""
        lead = tuple(rows.shape[:-1])
        tensors: dict[str, Array] = {}
        start = 0
        for spec in self.specs:
            stop = start + spec.size
            tensors[spec.name] = rows[..., start:stop].reshape((*lead, *spec.shape))
            start = stop
        return tensors

    @classmethod
    def of(cls, specs: Sequence[InputSpec], names: Sequence[str] | None = None) -> Layout:
        """Layout of the named inputs (all of them if `names` is None)."""
        chosen = [spec for spec in specs if names is None or spec.name in names]
        return cls(tuple(chosen))


@dataclass(frozen=True)
class FeatureGroups:
    """Groups of features, in order; a feature belongs to one of them at most.

    Attributes:
        names: of the groups.
        members: per group, int64 positions in the flat row.
    """

    names: tuple[str, ...]
    members: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def single(cls, names: Sequence[str]) -> FeatureGroups:
        """Every feature a group of its own."""
        return cls(tuple(names), tuple(np.array([i]) for i in range(len(names))))


def feature_names(specs: Sequence[InputSpec]) -> tuple[str, ...]:
    """A name for every coordinate of a flat row.

    The dataset's names for a vector that has some, `X[3]` or `X[channel 0, height 4, width 7]` otherwise;
    where several inputs are explained, the dataset's names are preceded by the input's.
    """
    several = len(specs) > 1
    return tuple(name for spec in specs for name in _names(spec, several))


def _names(spec: InputSpec, several: bool) -> Iterator[str]:
    if len(spec.features) == spec.size:
        yield from (f"{spec.name}.{name}" if several else name for name in spec.features)
        return
    labelled = len(spec.axes) == len(spec.shape) > 1
    for place in np.ndindex(*spec.shape):
        inside = ", ".join(
            f"{axis} {i}" if labelled else str(i)
            for axis, i in zip(spec.axes if labelled else place, place, strict=True)
        )
        yield f"{spec.name}[{inside}]"
