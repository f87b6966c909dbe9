"""Which features and groups of features are intervened on, and whether they are continuous, levels or constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import JobError, suggestion

__all__ = ["FeatureSelection", "resolve", "wanted_features"]


@dataclass(frozen=True)
class FeatureSelection:
    """A feature or group that is to be intervened on.

    Attributes:
        name: of the feature or group.
        members: (m,) int64, coordinates in the flat row.
        is_group: whether it was named under `groups`.
    """

    name: str
    members: np.ndarray
    is_group: bool = False


def resolve(feature: str | int, names: Sequence[str], key: str) -> int:
    """The coordinate of a feature that the job names or numbers.

    Raises:
        JobError: there is none. `key` begins the message.
    """
    if isinstance(feature, int) and 0 <= feature < len(names):
        return feature
    if isinstance(feature, str) and feature in names:
        return names.index(feature)
    what = f"no feature {feature!r}" if isinstance(feature, str) else f"no feature number {feature}"
    raise JobError(f"{key}: {what}; there are {len(names)}, numbered from 0.{suggestion(feature, _some(names))}")


def _some(names: Sequence[str]) -> Sequence[str]:
    most = 30  # an image has thousands, and an error message is to be read
    return names if len(names) <= most else ()


def wanted_features(
    names: Sequence[str], chosen: Sequence[str | int], groups: Mapping[str, Sequence[str | int]]
) -> list[FeatureSelection]:
    """Groups first, then the chosen features; if none are chosen, all that are in no group.

    Raises:
        JobError: an unknown feature, one that is named twice, or a group that has a feature's name.
    """
    wanted = [_group(group, members, names) for group, members in groups.items()]
    _refuse_overlap(wanted, names)
    grouped = {int(i) for group in wanted for i in group.members}
    if chosen:
        singles = [resolve(key, names, "features") for key in chosen]
        twice = sorted({i for i in singles if singles.count(i) > 1})
        if twice:
            raise JobError(f"features: {names[twice[0]]!r} is named twice.")
    else:
        singles = [i for i in range(len(names)) if i not in grouped]
    return [*wanted, *(FeatureSelection(names[i], np.array([i])) for i in singles)]


def _group(group: str, members: Sequence[str | int], names: Sequence[str]) -> FeatureSelection:
    if group in names:
        raise JobError(f"groups.{group}: a feature has that name; give the group another one.")
    if not members:
        raise JobError(f"groups.{group}: is empty; name its features.")
    places = [resolve(key, names, f"groups.{group}") for key in members]
    return FeatureSelection(group, np.array(places, np.int64), is_group=True)


def _refuse_overlap(groups: Sequence[FeatureSelection], names: Sequence[str]) -> None:
    owner: dict[int, str] = {}
    for group in groups:
        for coordinate in group.members.tolist():
            if coordinate in owner:
                raise JobError(
                    f"groups.{group.name}: {names[coordinate]!r} is in the group {owner[coordinate]!r} already; a "
                    "feature belongs to one group at most, once."
                )
            owner[coordinate] = group.name
