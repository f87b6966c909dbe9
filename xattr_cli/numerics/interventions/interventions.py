"""Interventions do(x_i = α): which coordinates of a row are set, to which values, and where a sample stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

__all__ = ["Intervention", "Interventions"]

SAME_LEVEL = 1e-3  # of the distance between levels; float32 data meet float64 levels


@dataclass(frozen=True)
class Intervention:
    """One feature, or a group of them, that is set.

    Attributes:
        name: of the feature or group.
        members: (m,) int64, the coordinates that are set together.
        alpha: (alphas,), the values of a single feature, the place in the range (0 to 1) of a group, the
            value or number of a level.
        values: (m, alphas), what each member is set to.
        discrete: the α are levels, between which nothing lies.

    Example:
        >>> age = Intervention("age", np.array([0]), np.array([20.0, 60.0]), np.array([[20.0, 60.0]]))
        >>> age.values.tolist()
        [[20.0, 60.0]]
    """

    name: str
    members: np.ndarray
    alpha: np.ndarray
    values: np.ndarray
    discrete: bool = False


@dataclass(frozen=True)
class Interventions:
    """All interventions of a study, in arrays that a file can hold; rows of fewer α end in NaN.

    Attributes:
        names: (features,) of features and groups.
        alpha: (features, alphas).
        discrete: (features,) bool.
        owner: (members,) int64, the feature that a member belongs to, in order.
        member: (members,) int64, its coordinate in the flat row.
        value: (members, alphas), what it is set to.

    Example:
        >>> age = Intervention("age", np.array([0]), np.array([20.0, 60.0]), np.array([[20.0, 60.0]]))
        >>> Interventions.of([age]).counts.tolist()
        [2]
    """

    names: tuple[str, ...]
    alpha: np.ndarray
    discrete: np.ndarray
    owner: np.ndarray
    member: np.ndarray
    value: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, interventions: Sequence[Intervention]) -> Interventions:
        """The interventions, packed."""
        most = max((len(intervention.alpha) for intervention in interventions), default=0)
        owner = np.repeat(
            np.arange(len(interventions)), [len(intervention.members) for intervention in interventions]
        )
        members = [np.empty(0, np.int64), *(intervention.members for intervention in interventions)]
        none = np.empty((0, most))
        return cls(
            names=tuple(intervention.name for intervention in interventions),
            alpha=np.vstack([none, *(_padded(intervention.alpha[None], most) for intervention in interventions)]),
            discrete=np.array([intervention.discrete for intervention in interventions], dtype=bool),
            owner=owner,
            member=np.concatenate(members).astype(np.int64),
            value=np.vstack([none, *(_padded(intervention.values, most) for intervention in interventions)]),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """All but the names, as `load` reads them."""
        return {
            "alpha": self.alpha,
            "discrete": self.discrete.astype(np.int8),
            "member/feature": self.owner,
            "member/index": self.member,
            "member/value": self.value,
        }

    @classmethod
    def load(cls, names: Sequence[str], arrays: Mapping[str, np.ndarray]) -> Interventions:
        """What `arrays` describes."""
        discrete = np.asarray(arrays["discrete"]).astype(bool)
        places = ("member/feature", "member/index", "member/value")
        return cls(tuple(names), np.asarray(arrays["alpha"]), discrete, *(np.asarray(arrays[p]) for p in places))

    @cached_property
    def counts(self) -> np.ndarray:
        """(features,) int64, number of α."""
        return np.asarray(np.isfinite(self.alpha).sum(axis=1))

    @property
    def lower(self) -> np.ndarray:
        """(features,) first α."""
        return np.asarray(self.alpha[:, 0])

    @property
    def upper(self) -> np.ndarray:
        """(features,) last α."""
        return np.asarray(self.alpha[np.arange(len(self)), self.counts - 1])

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """The members of each feature."""
        starts = np.searchsorted(self.owner, np.arange(len(self) + 1))
        return tuple(slice(a, b) for a, b in pairwise(starts.tolist()))

    def one(self, feature: int) -> Intervention:
        """A single one of them."""
        count, members = self.counts[feature], self.slices[feature]
        return Intervention(
            self.names[feature],
            self.member[members],
            self.alpha[feature, :count],
            self.value[members, :count],
            bool(self.discrete[feature]),
        )

    def take(self, features: Sequence[int]) -> Interventions:
        """Some of them, as wide as all."""
        members = [np.arange(s.start, s.stop) for s in (self.slices[feature] for feature in features)]
        chosen = np.concatenate([np.empty(0, np.int64), *members])
        return Interventions(
            names=tuple(self.names[feature] for feature in features),
            alpha=self.alpha[list(features)],
            discrete=self.discrete[list(features)],
            owner=np.repeat(np.arange(len(members)), [len(places) for places in members]),
            member=self.member[chosen],
            value=self.value[chosen],
        )

    def positions(self, points: np.ndarray) -> np.ndarray:
        """(n, features) the α at which samples (n, D) stand, as if they had been put there.

        That is the value of a single feature, the mean of its members' places in their ranges for a group,
        the number of the level for a discrete one (NaN for a level that is not among them).
        """
        positions = np.empty((len(points), len(self)))
        for feature in range(len(self)):
            intervention = self.one(feature)
            position_of = _level_of if intervention.discrete else _place_in_range
            positions[:, feature] = position_of(
                intervention, np.asarray(points[:, intervention.members], np.float64)
            )
        return positions


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    missing = length - values.shape[1]
    return np.pad(np.asarray(values, np.float64), ((0, 0), (0, missing)), constant_values=np.nan)


def _place_in_range(intervention: Intervention, values: np.ndarray) -> np.ndarray:
    if len(intervention.members) == 1:
        return np.asarray(values[:, 0])
    first, last = intervention.values[:, 0], intervention.values[:, -1]
    share = ((values - first) / (last - first)).mean(axis=1)
    return np.asarray(intervention.alpha[0] + share * (intervention.alpha[-1] - intervention.alpha[0]))


def _level_of(intervention: Intervention, values: np.ndarray) -> np.ndarray:
    """(n,) number of the level at which a sample stands; NaN if it is at none."""
    distance = np.abs(values[:, :, None] - intervention.values).max(axis=1)
    nearest = distance.argmin(axis=1)
    spread = np.ptp(intervention.values, axis=1).max()
    is_there = distance[np.arange(len(values)), nearest] <= SAME_LEVEL * spread
    return np.where(is_there, nearest, np.nan)
