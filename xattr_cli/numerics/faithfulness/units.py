"""Units: what a ranking ranks and a perturbation replaces as one, such as a pixel with all its channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import JobError, suggestion
from ...samples import InputSpec

__all__ = ["UNIT_KINDS", "Units", "units_of"]

UNIT_KINDS = ("auto", "feature", "pixel", "step", "token")
_JOINED = {"pixel": ("channel",), "step": ("feature", "embedding"), "token": ("embedding",)}
"""Kind of unit -> the axes along which its numbers may lie."""


@dataclass(frozen=True)
class Units:
    """A partition of the D numbers of a flat row.

    Attributes:
        kind: "feature" (every number a unit), "pixel", "step", "token", or "pixel and feature" where tensors
            differ.
        of: (D,) int64, the unit that each number belongs to, from 0 to `count` - 1.
        count: number of units.

    Example:
        >>> pairs = Units("pixel", np.array([0, 0, 1]), 2)
        >>> pairs.totals(np.array([[1.0, 2.0, 4.0]])).tolist()
        [[3.0, 4.0]]
    """

    kind: str
    of: np.ndarray
    count: int

    def totals(self, rows: np.ndarray) -> np.ndarray:
        """(n, count) float64 sums over the numbers of each unit, of (n, D) values.

        The sum keeps completeness: what the units get adds up to what their numbers get.
        """
        values = np.asarray(rows, dtype=np.float64)
        if self.count == len(self.of):
            return values
        order = np.argsort(self.of, kind="stable")
        starts = np.searchsorted(self.of[order], np.arange(self.count))
        return np.asarray(np.add.reduceat(values[:, order], starts, axis=1))


def units_of(specs: Sequence[InputSpec], kind: str = "auto") -> Units:
    """The units of some explained inputs.

    Arguments:
        specs: the inputs, in the order in which they lie in a row.
        kind: `feature`: every number is a unit. `pixel`: the numbers at one place of an image, over all
            channels. `step`: the numbers of one step of a sequence. `token`: those of one token's embedding.
            `auto`: pixels where an input has an axis "channel", tokens where it has an axis "embedding", features
            elsewhere.

    Raises:
        JobError: an unknown kind, or one for which no input has the axes.

    Example:
        >>> image = InputSpec("X", (2, 1, 2), np.dtype("float32"), axes=("channel", "height", "width"))
        >>> units_of([image]).of.tolist()
        [0, 1, 0, 1]
    """
    if kind not in UNIT_KINDS:
        raise JobError(f"--unit {kind!r}: no such unit.{suggestion(kind, UNIT_KINDS)}")
    kinds = [next((k for k in ("pixel", "token") if _joined(spec, k)), "feature") for spec in specs]
    if kind != "auto":
        kinds = [kind if _joined(spec, kind) else "feature" for spec in specs]
        if kind not in kinds:
            raise JobError(_no_axis(specs, kind))
    of, count = [np.empty(0, np.int64)], 0
    for spec, its_kind in zip(specs, kinds, strict=True):
        places = _places(spec, _joined(spec, its_kind))
        of.append(places + count)
        count += int(places.max(initial=-1)) + 1
    return Units(" and ".join(dict.fromkeys(kinds)), np.concatenate(of), count)


def _joined(spec: InputSpec, kind: str) -> str | None:
    """The axis of an input along which the numbers of a unit lie; None if there is none of that kind."""
    return next((axis for axis in _JOINED.get(kind, ()) if axis in _axes(spec)), None)


def _axes(spec: InputSpec) -> tuple[str, ...]:
    """Labels of the axes, if there are several: along the only one nothing can be joined."""
    return spec.axes if len(spec.axes) == len(spec.shape) > 1 else ()


def _places(spec: InputSpec, joined: str | None) -> np.ndarray:
    """(size,) int64: the unit within its tensor of every number of an input."""
    if joined is None:
        return np.arange(spec.size)
    shape = list(spec.shape)
    shape[_axes(spec).index(joined)] = 1
    places = np.arange(int(np.prod(shape))).reshape(shape)
    return np.broadcast_to(places, spec.shape).reshape(-1).copy()


def _no_axis(specs: Sequence[InputSpec], kind: str) -> str:
    axes = "; ".join(f"{spec.name!r}: {', '.join(spec.axes) or 'no labels'}" for spec in specs)
    wanted = " or ".join(map(repr, _JOINED[kind]))
    return (
        f"--unit {kind}: no explained input has an axis {wanted} beside others ({axes}). "
        "Label the axes (--set dataset.axes=[...]), or use --unit feature."
    )
