"""Shares of the variance that a study gave its inputs, read for figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...store.results.effects import EffectResults
from ...store.results.reader import Results
from ..drawing.selection import Selection
from ..drawing.words import shorten

__all__ = ["ENGINES", "ShareStudy", "Shares", "share_studies"]

ENGINES = ("icc", "sobol")


@dataclass(frozen=True)
class Shares:
    """One estimate for one output, or for all.

    Attributes:
        value: (nodes,).
        low, high: (nodes,) ends of the 95 % intervals.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class ShareStudy:
    """What `icc` or `sobol` left.

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

    @property
    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return self.effects.texts("nodes")

    @property
    def is_causal(self) -> bool:
        """Whether the nodes stand in a causal graph."""
        return "causal" in self.effects and bool(self.effects.values("causal"))

    def shares(self, name: str, target: int | None) -> Shares | None:
        """An estimate for one of the outputs, by position, or for all of them; None if the study has none."""
        at = name if target is not None else f"weighted/{name}"
        if at not in self.effects:
            return None
        value, ends = self.effects.values(at), self.effects.values(f"{at}_interval")
        if target is not None:
            value, ends = value[:, target], ends[:, target]
        return Shares(value, ends[:, 0], ends[:, 1])

    @property
    def measure(self) -> str:
        """What is shared out: variance, or entropy."""
        return "entropy" if "entropy" in self.effects else "variance"

    def targets(self, most: int) -> list[int | None]:
        """All outputs together, as None, and then those that vary most; the only one, if there is one."""
        variance = self.effects.values(self.measure)
        if len(variance) == 1:
            return [0]
        order = np.argsort(-variance, kind="stable")
        return [None, *(int(target) for target in order[:most] if variance[target] > 0)]

    def target_name(self, target: int | None) -> str:
        """What a figure calls an output."""
        if target is None:
            return "all outputs, by their variance" if self.measure == "variance" else "predicted class"
        return f"output {shorten(self.effects.target_names[target], 30)}"

    def stem(self, target: int | None) -> str:
        """Tail of a file name for an output."""
        if target is None or len(self.effects.targets) == 1:
            return ""
        return f"-{int(self.effects.targets[target])}-{self.effects.target_names[target][:30]}"


def share_studies(selection: Selection, engines: Sequence[str] = ENGINES) -> list[ShareStudy]:
    """The share_studies among the chosen engines."""
    return [ShareStudy(selection.results, effects) for effects in selection.effects if effects.engine in engines]
