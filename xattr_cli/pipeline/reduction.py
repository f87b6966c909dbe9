"""Maps over embeddings, features or channels as one number per token, step or pixel."""

from __future__ import annotations

from torch import Tensor

from ..job.explain_section import Reduction
from ..samples import InputSpec

__all__ = ["reduce_map", "reduced_axes"]

_REDUCED = ("embedding", "feature", "channel")


def reduced_axes(spec: InputSpec) -> tuple[int, ...]:
    """Which axes of a tensor a reduction takes away; none of a tensor that has no other ones."""
    found = tuple(i for i, axis in enumerate(spec.axes) if axis in _REDUCED)
    return found if 0 < len(found) < len(spec.shape) == len(spec.axes) else ()


def reduce_map(
    values: Tensor, spec: InputSpec, axes: tuple[str, ...], way: Reduction
) -> tuple[Tensor, tuple[str, ...]]:
    """A map without its embedding, feature or channel axis, and the labels of the axes that are left.

    Arguments:
        values: (..., *shape).
        spec: of the tensor.
        axes: labels of `shape`.
        way: `sum` keeps what a token adds to the score; `l2` is the length of its vector; `none` keeps all.
    """
    gone = reduced_axes(spec)
    if way == "none" or not gone:
        return values, axes
    across = tuple(i - len(spec.shape) for i in gone)
    found = values.sum(dim=across) if way == "sum" else values.square().sum(dim=across).sqrt()
    return found, tuple(axis for i, axis in enumerate(axes) if i not in gone)
