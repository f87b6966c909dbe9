"""Which group each coordinate of a flat row belongs to, for every kind of groups but superpixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import JobError, suggestion
from ...samples import InputSpec, feature_names
from .groups import FeatureKey, Groups

__all__ = ["LEFT_OUT", "Membership", "is_image", "membership", "positions"]

LEFT_OUT = -1

_STEPS = ("token", "step", "time")
_MOST_LISTED = 5


@dataclass(frozen=True)
class Membership:
    """Groups of coordinates.

    Attributes:
        names: of the groups.
        index: (D,) int64, number of the group of each coordinate; -1 where it is in none.
    """

    names: tuple[str, ...]
    index: np.ndarray


def membership(groups: Groups, specs: Sequence[InputSpec]) -> Membership:
    """The groups of a job's option over its explained tensors.

    Raises:
        JobError: the tensors have no such axis, a feature is unknown, or is in two groups.
    """
    if groups.kind == "features":
        names = feature_names(specs)
        return Membership(names, np.arange(len(names)))
    if groups.kind == "named":
        return _named(groups.members, specs)
    label = {"tokens": _step_names, "time": _step_names, "channels": _channel_names}
    if groups.kind in label:
        return _joined(specs, label[groups.kind])
    return _joined(specs, lambda spec: _patch_names(spec, groups.size))


def positions(keys: Sequence[FeatureKey], names: Sequence[str], option: str) -> list[int]:
    """Numbers of the groups that an option names.

    Raises:
        JobError: there is no such group, or it is named twice.
    """
    places = {name: number for number, name in enumerate(names)}
    coordinates = []
    for key in keys:
        number = key if isinstance(key, int) else places.get(key)
        if number is None or number >= len(names):
            raise JobError(f"{option}: {key!r} is none of the {len(names)} groups.{_nearby(key, names)}")
        if number in coordinates:
            raise JobError(f"{option}: {names[number]!r} is named twice.")
        coordinates.append(number)
    return coordinates


def _nearby(key: FeatureKey, names: Sequence[str]) -> str:
    if isinstance(key, int):
        return f" They are numbered from 0 to {len(names) - 1}."
    listed = suggestion(key, names)
    return (
        listed if len(names) <= 40 else listed.partition("Did you mean")[1] + listed.partition("Did you mean")[2]
    )


def _named(members: Mapping[str, Sequence[FeatureKey]], specs: Sequence[InputSpec]) -> Membership:
    names = feature_names(specs)
    index = np.full(len(names), LEFT_OUT, np.int64)
    for number, (group, keys) in enumerate(members.items()):
        for coordinate in positions(keys, names, f"groups.{group}"):
            if index[coordinate] != LEFT_OUT:
                other = list(members)[index[coordinate]]
                raise JobError(
                    f"groups.{group}: the feature {names[coordinate]!r} is in the group {other!r} too; groups may "
                    "not overlap: the interactions of a feature with itself would be counted twice."
                )
            index[coordinate] = number
    return Membership(tuple(members), index)


def _joined(specs: Sequence[InputSpec], labels: Callable[[InputSpec], np.ndarray]) -> Membership:
    """Groups of several tensors, each after the other.

    Arguments:
        specs: of the tensors.
        labels: (*shape) name of the group of each coordinate of a tensor.
    """
    prefix = len(specs) > 1
    named = [np.char.add(f"{spec.name}: " if prefix else "", labels(spec).astype(str)).ravel() for spec in specs]
    every = np.concatenate(named)
    _, first, index = np.unique(every, return_index=True, return_inverse=True)
    # in the order in which they come
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return Membership(tuple(every[np.sort(first)].tolist()), rank[index].astype(np.int64))


def _step_names(spec: InputSpec) -> np.ndarray:
    labelled = spec.axes[:1] in [(word,) for word in _STEPS]
    if not labelled and (spec.axes or len(spec.shape) != 2):
        raise _no_axis("tokens", spec, "a sequence, whose first axis is labelled step or token")
    word = spec.axes[0] if labelled else "step"
    return _along(spec, 0, [f"{word} {i}" for i in range(spec.shape[0])])


def _channel_names(spec: InputSpec) -> np.ndarray:
    axis = spec.axes.index("channel") if "channel" in spec.axes else 0
    if "channel" not in spec.axes and (spec.axes or len(spec.shape) != 3):
        raise _no_axis("channels", spec, "an image or another tensor with an axis labelled channel")
    return _along(spec, axis, [f"channel {i}" for i in range(spec.shape[axis])])


def _patch_names(spec: InputSpec, size: int) -> np.ndarray:
    if not is_image(spec):
        raise _no_axis(f"{{patches: {size}}}", spec, "an image, whose last two axes are height and width")
    height, width = spec.shape[-2:]
    if size > max(height, width):
        raise JobError(f"groups.patches: {size}: the image has {height} × {width} pixels; choose fewer.")
    rows, columns = np.arange(height) // size, np.arange(width) // size
    names = [[f"patch {row},{column}" for column in columns] for row in rows]
    return np.broadcast_to(np.array(names), spec.shape)


def is_image(spec: InputSpec) -> bool:
    """Whether the last two axes of a tensor are height and width."""
    if len(spec.axes) == len(spec.shape):
        return spec.axes[-2:] == ("height", "width")
    return len(spec.shape) == 3


def _along(spec: InputSpec, axis: int, names: Sequence[str]) -> np.ndarray:
    shape = [1] * len(spec.shape)
    shape[axis] = len(names)
    return np.broadcast_to(np.array(names).reshape(shape), spec.shape)


def _no_axis(given: str, spec: InputSpec, wanted: str) -> JobError:
    axes = f" with the axes {', '.join(spec.axes)}" if spec.axes else ""
    return JobError(
        f"groups: {given}: {spec.name!r} of shape {spec.shape}{axes} is not {wanted}. Use groups: features, or "
        "name the groups: {file: groups.yaml}."
    )
