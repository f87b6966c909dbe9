"""Features: names of the coordinates of a flat row, and groups of them that are treated as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .samples import InputSpec

__all__ = ["FeatureGroups", "feature_names"]


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
