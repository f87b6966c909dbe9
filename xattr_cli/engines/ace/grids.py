"""Interventions on two features at once: the mean of the output over the data on a grid of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...errors import JobError, suggestion
from ...numerics.interventions.moments import Spread
from .data import points_of
from .empirical import CALLS_AT_A_TIME, CHUNK_BYTES, grid_weights
from .estimates import FEWEST_SAMPLES, MOST_EMPIRICAL
from .taylor import Intervened, repeated

if TYPE_CHECKING:
    from torch import Tensor

    from ...numerics.interventions.interventions import Interventions
    from ..population import Population
    from .data import Choice, PaddingMask
    from .options import AceOptions

__all__ = ["PAIR_AXES", "check_pairs", "pair_effects", "pair_evaluations", "pair_samples"]

_GRID = ("pair", "alpha", "alpha_of_second", "target")
PAIR_AXES: Mapping[str, tuple[str, ...]] = {
    "pair/feature": ("pair", "place"),
    "pair/alpha": ("pair", "place", "alpha"),
    "pair/interventional": _GRID,
    "pair/standard_error": _GRID,
    "pair/interaction": _GRID,
    "pair/interaction_error": _GRID,
    "pair/strength": ("pair", "target"),
    "pair/samples": ("pair",),
}
"""Labels of the axes of what is stored of pairs."""


def pair_samples(options: AceOptions, samples: int) -> int:
    """How many samples the grids of pairs are averaged over: all that ten million evaluations allow."""
    if options.samples is not None:
        return min(options.samples, samples)
    return min(samples, max(FEWEST_SAMPLES, MOST_EMPIRICAL // max(1, _cells(options))))


def pair_evaluations(options: AceOptions, samples: int) -> int:
    """Evaluations that the grids of all pairs take, as far as the options tell."""
    return _cells(options) * samples


def _cells(options: AceOptions) -> int:
    return len(options.pairs) * min(options.pair_alphas, options.alphas) ** 2


def pair_effects(
    options: AceOptions,
    population: Population,
    interventions: Interventions,
    presence: PaddingMask,
    choice: Choice | None,
) -> tuple[dict[str, np.ndarray], int]:
    """E[y | do(x_a = α, x_b = β)] on a grid, for every pair that the options name, and the evaluations it took.

    The interaction is what the sum of two effects misses: the expectation less its means over α, over β, and over
    both. Its strength is its root mean square, as a share of that of the expectation less its mean.

    Reference: Chattopadhyay et al. 2019, definition 2, for two features; Friedman, Popescu 2008, section 8.1.

    Arguments:
        options: of the engine.
        population: the dataset.
        interventions: on all features that are studied.
        presence: a sample counts only where both features are no padding.
        choice: of the samples that count; None for all.

    Raises:
        JobError: a pair names a feature that is not studied.
    """
    pairs = check_pairs(options, interventions.names, population.names)
    grids = [_Grid(population, interventions, pair, options.pair_alphas) for pair in pairs]
    of_pairs = [
        population.once(f"pair-{number}", partial(grid.run, presence, choice)) for number, grid in enumerate(grids)
    ]
    values = {name: _stacked([one[name.removeprefix("pair/")] for one in of_pairs]) for name in PAIR_AXES}
    return values, sum(int(one["samples"]) * grid.cells for one, grid in zip(of_pairs, grids, strict=True))


def check_pairs(options: AceOptions, studied: Sequence[str], names: Sequence[str]) -> list[tuple[int, int]]:
    """Positions among the studied features of those that each pair names.

    Arguments:
        options: of the engine.
        studied: names of features and groups.
        names: (D,) of all features.

    Raises:
        JobError: one is none of them.
    """
    places = ([_position(one, studied, names) for one in pair] for pair in options.pairs)
    return [(first, second) for first, second in places]


def _position(feature: str | int, studied: Sequence[str], names: Sequence[str]) -> int:
    wanted = names[feature] if isinstance(feature, int) and feature < len(names) else str(feature)
    if wanted in studied:
        return list(studied).index(wanted)
    raise JobError(f"pairs: {feature!r} is none of the features that are studied.{suggestion(wanted, studied)}")


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """(pairs, ...) of arrays whose grids may be of different sizes; the rest is NaN."""
    shape = np.max([array.shape for array in arrays], axis=0)
    if all(array.shape == tuple(shape) for array in arrays):
        return np.stack(arrays)
    whole = np.full((len(arrays), *shape), np.nan)
    for array, part in zip(arrays, whole, strict=True):
        part[tuple(slice(size) for size in array.shape)] = array
    return whole


@dataclass(frozen=True)
class _Grid:
    """The grid of one pair.

    Attributes:
        population: the dataset.
        interventions: on all features.
        pair: which two.
        most: points of each.
    """

    population: Population
    interventions: Interventions
    pair: tuple[int, int]
    most: int

    @property
    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Which of the α of each feature, evenly spread; all levels of a discrete one."""
        first, second = (self._places(feature) for feature in self.pair)
        return first, second

    def _places(self, feature: int) -> np.ndarray:
        count = int(self.interventions.counts[feature])
        if self.interventions.discrete[feature] or count <= self.most:
            return np.arange(count)
        return np.unique(np.linspace(0, count - 1, self.most).round().astype(np.int64))

    @property
    def cells(self) -> int:
        """Points of the grid."""
        first, second = self.places
        return len(first) * len(second)

    def run(self, presence: PaddingMask, choice: Choice | None) -> dict[str, np.ndarray]:
        """The grid, its errors, and what of it is no sum of two effects."""
        shape = (*map(len, self.places), len(self.population.targets))
        values, interactions = Spread(shape), Spread(shape)
        setter = Intervened(self.interventions, self.population.scorer)
        members = np.concatenate([self.interventions.one(feature).members for feature in self.pair])
        for block in self.population.blocks():
            here = presence.of(block.context, len(block))[:, members].all(axis=1)
            if choice is not None:
                here &= choice.of(points_of(block))
            rows = np.flatnonzero(here)
            step = self._at_once(block.points)
            for start in range(0, len(rows), step):
                chosen = self.population.scorer.tensor(rows[start : start + step])
                context = {name: tensor[chosen] for name, tensor in block.context.items()}
                grid = self._of(block.points[chosen], context, setter)
                values.add(grid)
                interactions.add(self._interaction(grid))
        effect = values.mean - np.einsum("a,b,abt->t", *self._weights(), values.mean)
        alphas = [self.interventions.alpha[f][places] for f, places in zip(self.pair, self.places, strict=True)]
        return {
            "feature": np.array(self.pair),
            "alpha": _stacked(alphas),
            "interventional": values.mean,
            "standard_error": values.standard_error,
            "interaction": interactions.mean,
            "interaction_error": interactions.standard_error,
            "strength": _share(self._size(interactions.mean), self._size(effect)),
            "samples": np.array(values.count),
        }

    def _of(self, points: Tensor, context: Mapping[str, Tensor], setter: Intervened) -> np.ndarray:
        """(n, alphas, alphas, targets) scores of samples at every point of the grid."""
        first, second = self.places
        tensor = self.population.scorer.tensor
        rows = points.repeat_interleave(self.cells, dim=0)
        setter.set(rows, self.pair[0], tensor(np.tile(np.repeat(first, len(second)), len(points))))
        setter.set(rows, self.pair[1], tensor(np.tile(second, len(first) * len(points))))
        scores = self.population.scores(rows, repeated(context, self.cells)).double().cpu().numpy()
        return np.asarray(scores).reshape(len(points), len(first), len(second), -1)

    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        first, second = (
            grid_weights(len(places), bool(self.interventions.discrete[feature]))
            for feature, places in zip(self.pair, self.places, strict=True)
        )
        return first, second

    def _interaction(self, grid: np.ndarray) -> np.ndarray:
        """(n, a, b, targets) less the means over either axis."""
        first, second = self._weights()
        over_first = np.einsum("a,nabt->nbt", first, grid)[:, None]
        over_second = np.einsum("b,nabt->nat", second, grid)[:, :, None]
        whole = np.einsum("a,b,nabt->nt", first, second, grid)[:, None, None]
        return np.asarray(grid - over_first - over_second + whole)

    def _size(self, grid: np.ndarray) -> np.ndarray:
        """(targets,) root mean square over the grid."""
        return np.asarray(np.sqrt(np.einsum("a,b,abt->t", *self._weights(), np.square(grid))))

    def _at_once(self, points: Tensor) -> int:
        """Samples whose grids are computed together: some full device calls, within 64 MiB."""
        targets = len(self.population.targets)
        bytes_per_sample = self.cells * (points.shape[1] * points.element_size() + 4 * 8 * targets)
        rows = CALLS_AT_A_TIME * self.population.scorer.packing.rows
        return max(1, min(rows // self.cells, CHUNK_BYTES // bytes_per_sample))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0))
