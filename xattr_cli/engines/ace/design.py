"""From options and data to interventions: the grid of every feature, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import JobError, suggestion
from ...numerics.interventions.interventions import Intervention, Interventions
from ..features import FeatureSelection, resolve

if TYPE_CHECKING:
    from .data import DataSummary
    from .options import AceOptions

__all__ = ["InterventionDesign", "design"]

FEW_VALUES = 10
RARE = 0.01
SAMPLES_PER_VALUE = 10
NAMED = 5  # in one message


@dataclass(frozen=True)
class InterventionDesign:
    """What is going to be done.

    Attributes:
        interventions: on all features that vary.
        constant: names of those that do not, whose effect is 0.
    """

    interventions: Interventions
    constant: tuple[str, ...]


def design(
    options: AceOptions,
    selected: Sequence[FeatureSelection],
    names: Sequence[str],
    summary: DataSummary,
    *,
    bounds: tuple[np.ndarray, np.ndarray],
    warn: Callable[[str], None],
) -> InterventionDesign:
    """The interventions that the options ask for.

    Arguments:
        options: of the engine.
        selected: features and groups.
        names: (D,) of all features.
        summary: of the data.
        bounds: (D,) twice, the range of features for which none is given: data or quantiles.
        warn: is told what is odd, but possible.

    Raises:
        JobError: a feature that does not vary, one that looks categorical, or a range or levels that do not fit.
    """
    ranges = _Ranges(options, names, summary, bounds)
    levels = _Levels(options, selected, names, summary)
    _refuse_categorical(selected, ranges, levels, summary)
    interventions, constant = [], []
    for feature in selected:
        if levels.given(feature):
            interventions.append(levels.intervention(feature))
            continue
        lower, upper = ranges.of(feature)
        if (lower < upper).all():
            interventions.append(_continuous(feature, lower, upper, options.alphas))
        else:
            constant.append(feature)
    _treat_constant(options, constant)
    if not interventions:
        raise JobError("features: none of them varies in the data, so that there is nothing to study.")
    for text in (*ranges.remarks(selected), *levels.remarks()):
        warn(text)
    return InterventionDesign(Interventions.of(interventions), tuple(feature.name for feature in constant))


def _continuous(feature: FeatureSelection, lower: np.ndarray, upper: np.ndarray, alphas: int) -> Intervention:
    share = np.linspace(0.0, 1.0, alphas)
    values = lower[:, None] + (upper - lower)[:, None] * share
    return Intervention(feature.name, feature.members, share if feature.is_group else values[0], values)


def _treat_constant(options: AceOptions, constant: Sequence[FeatureSelection]) -> None:
    if constant and options.constant == "error":
        raise JobError(
            f"features: {_list([feature.name for feature in constant])} never "
            f"{'varies' if len(constant) == 1 else 'vary'} in the data: the range has no width. Leave out what is "
            "constant (features), give a range, or set constant: zero, which gives it the effect 0."
        )


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more" if len(names) > NAMED else shown


# --- ranges ---------------------------------------------------------------------------------------


class _Ranges:
    """The range of every feature."""

    def __init__(
        self,
        options: AceOptions,
        names: Sequence[str],
        summary: DataSummary,
        bounds: tuple[np.ndarray, np.ndarray],
    ) -> None:
        self._names, self._summary = names, summary
        self._lower, self._upper = bounds[0].copy(), bounds[1].copy()
        self.explicit = np.zeros(len(names), bool)
        for coordinate, (low, high) in self._given(options.range, names):
            self._lower[coordinate], self._upper[coordinate] = low, high
            self.explicit[coordinate] = True

    @staticmethod
    def _given(asked: object, names: Sequence[str]) -> list[tuple[int | slice, tuple[float, float]]]:
        if isinstance(asked, tuple):
            return [(slice(None), asked)]
        if isinstance(asked, Mapping) and "quantiles" not in asked:
            return [(resolve(name, names, "range"), pair) for name, pair in asked.items()]
        return []

    def of(self, feature: FeatureSelection) -> tuple[np.ndarray, np.ndarray]:
        """(members,) twice."""
        return self._lower[feature.members], self._upper[feature.members]

    def remarks(self, selected: Sequence[FeatureSelection]) -> list[str]:
        """Ranges that reach beyond the data."""
        lowest, highest = self._summary.lowest, self._summary.highest
        slack = 1e-6 * (highest - lowest)
        beyond = self.explicit & ((self._lower < lowest - slack) | (self._upper > highest + slack))
        studied = {int(i) for feature in selected for i in feature.members}
        places = [int(i) for i in np.flatnonzero(beyond) if int(i) in studied]
        if not places:
            return []
        told = "; ".join(
            f"{self._names[i]!r}: [{self._lower[i]:g}, {self._upper[i]:g}], data [{lowest[i]:g}, {highest[i]:g}]"
            for i in places[:NAMED]
        )
        more = f"; and {len(places) - NAMED} more" if len(places) > NAMED else ""
        return [f"range: reaches beyond the data, where the network was never seen to work ({told}{more})"]


# --- levels ---------------------------------------------------------------------------------------


class _Levels:
    """The levels of every categorical feature or group."""

    def __init__(
        self,
        options: AceOptions,
        selected: Sequence[FeatureSelection],
        names: Sequence[str],
        summary: DataSummary,
    ) -> None:
        self._summary = summary
        self._names = names
        self._by_name = {feature.name: feature for feature in selected}
        self._from_data = options.levels == "data"
        self._given = {} if isinstance(options.levels, str) else dict(options.levels)
        for name in self._given:
            if name not in self._by_name:
                raise JobError(
                    f"levels.{name}: no feature or group of that name is studied.{suggestion(name, self._by_name)}"
                )

    def given(self, feature: FeatureSelection) -> bool:
        """Whether a feature has levels rather than a range."""
        return feature.name in self._given or (self._from_data and looks_categorical(feature, self._summary))

    def intervention(self, feature: FeatureSelection) -> Intervention:
        """The intervention that puts a feature on each of its levels."""
        asked = self._given.get(feature.name, "data")
        values = self._values(feature, asked)
        if values.shape[1] < 2:
            raise JobError(f"levels.{feature.name}: at least two are needed.")
        if len(np.unique(values, axis=1).T) < values.shape[1]:
            raise JobError(f"levels.{feature.name}: a level is named twice.")
        alpha = np.arange(values.shape[1], dtype=np.float64) if feature.is_group else values[0]
        return Intervention(feature.name, feature.members, alpha, values, discrete=True)

    def _values(self, feature: FeatureSelection, asked: object) -> np.ndarray:
        """(members, levels)"""
        if asked == "one_hot":
            return self._one_hot(feature)
        if asked == "data":
            return self._seen(feature)
        try:
            values = np.array(asked, np.float64)
        except ValueError as error:
            raise JobError(f"levels.{feature.name}: the levels differ in length.") from error
        values = values[:, None] if values.ndim == 1 else values
        if values.shape[1] != len(feature.members):
            raise JobError(
                f"levels.{feature.name}: each level must give {len(feature.members)} values, one per member of "
                "the group."
            )
        return np.asarray(values.T)

    def _one_hot(self, feature: FeatureSelection) -> np.ndarray:
        if len(feature.members) < 2:
            raise JobError(
                f"levels.{feature.name}: one_hot is for a group of columns; put those of the category under "
                "groups."
            )
        low, high = self._summary.lowest[feature.members], self._summary.highest[feature.members]
        is_hot = np.eye(len(feature.members), dtype=bool)
        return np.asarray(np.where(is_hot, high[:, None], low[:, None]))

    def _seen(self, feature: FeatureSelection) -> np.ndarray:
        if len(feature.members) > 1:
            raise JobError(f"levels.{feature.name}: a group takes one_hot, or a list of levels, not data.")
        values = self._summary.levels[feature.members[0]]
        values = values[np.isfinite(values)]
        if not len(values):
            raise JobError(f"levels.{feature.name}: the data hold too many distinct values; list the levels.")
        return np.asarray(values[None])

    def remarks(self) -> list[str]:
        """Levels that the data hold, but that were left out."""
        told = []
        for name in self._given:
            feature = self._by_name[name]
            if len(feature.members) == 1:
                seen = self._seen_or_none(feature)
                levels = self.intervention(feature).values[0]
                missing = [v for v in seen if np.abs(levels - v).min() > 1e-3 * np.ptp(levels)]
                if missing:
                    values = ", ".join(f"{v:g}" for v in missing[:NAMED])
                    told.append(f"levels.{name}: the data also hold {values}, which is given no effect")
        return told

    def _seen_or_none(self, feature: FeatureSelection) -> np.ndarray:
        values = self._summary.levels[feature.members[0]]
        return np.asarray(values[np.isfinite(values)])


def looks_categorical(feature: FeatureSelection, summary: DataSummary) -> bool:
    """Whether the data of a single column of a table look like categories.

    Two values only, the rarer one in a hundredth of the samples at least (a pixel at the border of a picture
    may differ from zero once); or at most ten, all integers, each seen ten times on average.
    """
    if len(feature.members) > 1:
        return False
    values = summary.levels[feature.members[0]]
    values = values[np.isfinite(values)]
    if len(values) == 2:
        return bool(summary.rarest[feature.members[0]] >= RARE * summary.samples)
    is_few = 2 < len(values) <= FEW_VALUES and summary.samples >= SAMPLES_PER_VALUE * len(values)
    return is_few and bool((values == np.round(values)).all())


def _refuse_categorical(
    selected: Sequence[FeatureSelection], ranges: _Ranges, levels: _Levels, summary: DataSummary
) -> None:
    for feature in selected:
        if levels.given(feature) or ranges.explicit[feature.members].all():
            continue
        single = [FeatureSelection("", feature.members[[k]]) for k in range(len(feature.members))]
        if feature.is_group and not all(looks_categorical(member, summary) for member in single):
            continue
        if not feature.is_group and not looks_categorical(feature, summary):
            continue
        values = summary.levels[feature.members[0]]
        listed = ", ".join(f"{value:g}" for value in values[np.isfinite(values)])
        if feature.is_group:
            raise JobError(
                f"groups.{feature.name}: every member takes but a few values ({listed}), which looks like the "
                f"columns of one category. Set levels: {{{feature.name}: one_hot}}, or list the levels."
            )
        raise JobError(
            f"features: {feature.name!r} takes only the values {listed}, which looks categorical: nothing lies "
            f"between them. Set levels: {{{feature.name!r}: [{listed}]}}, or levels: data for all such columns; "
            f"several columns of one category belong into one of groups, with levels one_hot. If it is a "
            f"quantity, give it a range: {{{feature.name!r}: [low, high]}}."
        )
