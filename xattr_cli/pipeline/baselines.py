"""Baselines of a job, each bound to the data and placed on the device once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from ..baselines import Baseline, BoundBaseline
from ..datasets import Samples
from ..errors import JobError

__all__ = ["BaselineCache", "gradient_baselines"]

Placed = TypeVar("Placed")


def gradient_baselines(engines: Mapping[str, Any]) -> list[Baseline]:
    """The baselines of engines that ask for gradients, each once."""
    baselines: list[Baseline] = []
    for engine in engines.values():
        baseline = getattr(engine, "baseline", None)
        if engine.differentiates and isinstance(baseline, Baseline):
            baselines += [one for one in baseline.each or (baseline,) if one not in baselines]
    return baselines


@dataclass(frozen=True)
class BaselineCache(Generic[Placed]):
    """Baselines of a job: equal ones are bound once, and their background sets placed and scored once.

    Attributes:
        samples: of the dataset.
        seed: of the job.
        names: of the explained tensors.
        place: arrays (m, *shape) by name → points (m, D) on the device.
        score: such points → (targets,) their mean scores.
    """

    samples: Samples
    seed: int
    names: Sequence[str]
    place: Callable[[Mapping[str, np.ndarray]], Placed]
    score: Callable[[Placed], Placed]
    _bound: dict[str, BoundBaseline] = field(default_factory=dict, repr=False)
    _backgrounds: dict[str, tuple[Placed, Placed]] = field(default_factory=dict, repr=False)

    def bound(self, baseline: Baseline) -> BoundBaseline:
        """A baseline bound to these data."""
        key = _key(baseline)
        if key not in self._bound:
            self._bound[key] = baseline.bind(self.samples, self.seed, list(self.names))
        return self._bound[key]

    def background(self, baseline: Baseline) -> tuple[Placed, Placed]:
        """The background set (m, D) of a baseline, and the mean scores (targets,) over it.

        Raises:
            JobError: each sample has a baseline of its own.
        """
        key = _key(baseline)
        if key not in self._backgrounds:
            points = self.place(self._arrays(baseline))
            self._backgrounds[key] = points, self.score(points)
        return self._backgrounds[key]

    def fingerprints(self, engines: Mapping[str, Any]) -> dict[str, str]:
        """Hashes of the files that baselines were read from, by engine label."""
        hashes = {}
        for label, engine in engines.items():
            baseline = getattr(engine, "baseline", None)
            if isinstance(baseline, Baseline):
                hashes[label] = self.bound(baseline).fingerprint
        return {label: fingerprint for label, fingerprint in hashes.items() if fingerprint}

    def _arrays(self, baseline: Baseline) -> Mapping[str, np.ndarray]:
        arrays = self.bound(baseline).background()
        if arrays is None:
            raise JobError(
                f"baseline: {baseline.registered_name!r} gives every sample a baseline of its own, but what "
                "averages over baselines takes the same ones for all samples. Use {kind: samples, count: 64}, or "
                "any kind that does not depend on the sample."
            )
        return dict(arrays)


def _key(baseline: Baseline) -> str:
    return json.dumps(baseline.model_dump(mode="json"), sort_keys=True)
