"""What a study of average causal effects left, read for figures: names, units, and what matters most."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from ...store.results.effects import EffectResults
from ...store.results.reader import Results
from ..drawing.selection import Selection
from ..drawing.words import number, score_unit, shorten

__all__ = ["ENGINE", "CausalStudy", "effect_studies"]

ENGINE = "ace"


def effect_studies(selection: Selection) -> list[CausalStudy]:
    """The effect_studies among the chosen engines."""
    return [CausalStudy(selection.results, effects) for effects in selection.effects if effects.engine == ENGINE]


@dataclass(frozen=True)
class CausalStudy:
    """One study.

    Attributes:
        results: the file.
        effects: what the engine left.
    """

    results: Results
    effects: EffectResults

    @property
    def label(self) -> str:
        """The engine's key in the job."""
        return self.effects.label

    @cached_property
    def names(self) -> tuple[str, ...]:
        """(features,) of features and groups."""
        return self.effects.texts("features")

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """(targets,) names of the outputs."""
        return self.effects.target_names

    @cached_property
    def discrete(self) -> np.ndarray:
        """(features,) bool, whether a feature has levels instead of a range."""
        return self.effects.values("discrete").astype(bool)

    @cached_property
    def ace(self) -> np.ndarray:
        """(features, alphas, targets), NaN beyond the α that a feature has."""
        return self.effects.values("ace")

    @cached_property
    def fit(self) -> tuple[np.ndarray, np.ndarray]:
        """(features, alphas, targets) twice: the effect by the regressor, and its deviation."""
        baseline = self.effects.values("baseline")[:, None]
        return self.effects.values("fit/mean") - baseline, self.effects.values("fit/deviation")

    @cached_property
    def error(self) -> np.ndarray:
        """(features, alphas, targets) standard error of the effect."""
        return self.effects.values("standard_error")

    @cached_property
    def strength(self) -> np.ndarray:
        """(features, targets) mean over α of |effect|."""
        return np.asarray(np.nanmean(np.abs(self.ace), axis=1))

    @cached_property
    def places(self) -> np.ndarray:
        """(features,) position in the flat row of a single feature; -1 for a group."""
        owner, index = self.effects.values("member/feature"), self.effects.values("member/index")
        single = np.bincount(owner, minlength=len(self.names)) == 1
        positions = np.full(len(self.names), -1)
        positions[owner] = index
        return np.where(single, positions, -1)

    def count(self, feature: int) -> int:
        """How many α a feature has."""
        return int(np.isfinite(self.effects.values("alpha")[feature]).sum())

    def alpha(self, feature: int) -> np.ndarray:
        """(alphas,) in original units for a single feature; the place in the range, or the level, of a group."""
        return self.in_units(feature, self.effects.values("alpha")[feature, : self.count(feature)])

    def in_units(self, feature: int, alpha: np.ndarray) -> np.ndarray:
        """(alphas,) values of α, from the units of the network to the original ones; the same of a group."""
        position = self.places[feature]
        if position < 0:
            return alpha
        scale, offset = (self.effects.values(f"units/{name}")[position] for name in ("scale", "offset"))
        return np.asarray(alpha * scale + offset)

    def level_names(self, feature: int) -> list[str]:
        """What the levels of a discrete feature are called: the column that is hot, or the value."""
        alpha = self.alpha(feature)
        names = self.effects.texts("layout/names")
        members = self.effects.values("member/feature") == feature
        values = self.effects.values("member/value")[members][:, : len(alpha)]
        hot = values.argmax(axis=0)
        if names and len(values) == len(alpha) > 1 and len(np.unique(hot)) == len(hot):
            places = self.effects.values("member/index")[members]
            return [shorten(names[position], 12) for position in places[hot]]
        # float32 data, scaled and back, miss a round value by a rounding
        step = 1e-6 * (float(np.ptp(alpha)) or 1.0)
        return [f"{round(level / step) * step:g}" for level in alpha]

    def histogram(self, feature: int) -> np.ndarray:
        """(bins,) share of the samples in equal bins of the range, or at each level."""
        counts = self.effects.values("histogram/counts")[feature]
        used = self.count(feature) if self.discrete[feature] else counts.shape[0]
        return np.asarray(counts[:used] / max(counts.sum(), 1))

    def described(self, feature: int, width: int = 34) -> str:
        """Name and range: "petal length (1.0 to 6.9)"."""
        alpha = self.alpha(feature)
        name = shorten(self.names[feature], width)
        if self.discrete[feature]:
            return f"{name} ({len(alpha)} levels)"
        return f"{name} ({number(float(alpha[0]))} to {number(float(alpha[-1]))})"

    def strongest_features(self, most: int, targets: list[int] | None = None) -> list[int]:
        """The features of the largest mean effect, the strongest first."""
        chosen = self.strength if targets is None else self.strength[:, targets]
        order: list[int] = np.argsort(-chosen.mean(axis=1), kind="stable").tolist()
        return order[:most]

    def strongest_targets(self, most: int) -> list[int]:
        """The targets on which effects are largest, in the order of the outputs."""
        return sorted(np.argsort(-self.strength.mean(axis=0), kind="stable")[:most].tolist())

    def target_name(self, target: int, width: int = 40) -> str:
        """Name of a target."""
        return shorten(self.targets[target], width)

    @cached_property
    def shape(self) -> tuple[int, ...] | None:
        """Of the input, if there is one only, of at least two named axes."""
        inputs = self.effects.texts("layout/inputs")
        if len(inputs) != 1 or not self.axes:
            return None
        return tuple(int(n) for n in inputs[0].rsplit("=", 1)[1].split("x"))

    @cached_property
    def axes(self) -> tuple[str, ...]:
        """Labels of the axes of the input, if it has several."""
        return self.effects.texts("layout/axes")

    def strength_map(self, target: int) -> np.ndarray | None:
        """(*shape) mean |effect| of each coordinate studied by itself, NaN of others; None without a shape."""
        if self.shape is None or not (self.places >= 0).any():
            return None
        strengths = np.full(prod(self.shape), np.nan)
        single = self.places >= 0
        strengths[self.places[single]] = self.strength[single, target]
        return strengths.reshape(self.shape)

    @cached_property
    def unit(self) -> str:
        """What the effects are effects on."""
        return score_unit(self.results)

    def title(self, what: str) -> str:
        """File, engine and estimator, in one line."""
        estimator = self.effects.texts("estimators")[0]
        return f"{self.results.path.name}: {self.label}, {what} ({estimator} estimate)"
