"""Mean of the data and directions of their spread, within each context that a sample can have.

The second-order expansion of a mean is taken at the mean of the data. Where lengths, masks or other inputs
go with a sample, the samples of each distinct context have a mean and a covariance of their own.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import JobError
from ...numerics.interventions.moments import Factor, Moments, factorise, symmetric_root
from ...randomness import Purpose, sample_generator
from .data import MOST_CONTEXTS, PaddingMask, context_keys, points_of

if TYPE_CHECKING:
    from torch import Tensor

    from ..population import Population, PopulationBlock

__all__ = ["Covariance", "Stratum", "directions_of", "find_strata"]

MOST_DIRECTIONS = 64
FEWEST_DIRECTIONS = 4
EXACT_SHARE = 0.999
CONTEXT = "context/"


@dataclass(frozen=True)
class Covariance:
    """How the covariance is represented: by its leading directions, by random probes of it, or by both.

    Attributes:
        retained: share of the variance that directions hold; None for random probes.
        probes: random ones, of all contexts together; None for directions. Both None: all directions, or
            those of 99.9 %, if they are 64 at most; else the 32 leading ones and 32 probes of what they leave.
    """

    retained: float | None = None
    probes: int | None = None


@dataclass(frozen=True)
class Stratum:
    """The samples of one context.

    Attributes:
        samples: how many.
        mean: (D,).
        directions: (R, D). The covariance is Σ_k v_k v_kᵀ over the first `exact`, plus the mean of v_k v_kᵀ
            over the others, which are random probes.
        exact: how many directions are none.
        present: (D,) bool, False where a coordinate is padding.
        retained: share of the variance in the exact directions.
        context: name -> (1, ...), what goes with every sample.
    """

    samples: int
    mean: np.ndarray
    directions: np.ndarray
    exact: int
    present: np.ndarray
    retained: float
    context: Mapping[str, np.ndarray]

    def arrays(self) -> dict[str, np.ndarray]:
        """What `of` makes the stratum from again."""
        plain = {name: np.asarray(value) for name, value in vars(self).items() if name != "context"}
        return {**plain, **{CONTEXT + name: value for name, value in self.context.items()}}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Stratum:
        """The stratum that `arrays` describes."""
        return cls(
            samples=int(arrays["samples"]),
            mean=arrays["mean"],
            directions=arrays["directions"],
            exact=int(arrays["exact"]),
            present=arrays["present"].astype(bool),
            retained=float(arrays["retained"]),
            context={k.removeprefix(CONTEXT): v for k, v in arrays.items() if k.startswith(CONTEXT)},
        )


def find_strata(
    population: Population, presence: PaddingMask, covariance: Covariance, contexts: int
) -> list[Stratum]:
    """One pass over the data.

    Arguments:
        population: the dataset.
        presence: which coordinates are padding.
        covariance: how it is to be represented.
        contexts: how many there are.

    Raises:
        JobError: too many contexts.
    """
    if contexts > MOST_CONTEXTS:
        raise JobError(
            f"estimator: the Taylor estimate is taken within each distinct context (such as a length), and there "
            f"are more than {MOST_CONTEXTS}. Use estimator: empirical."
        )
    size = population.layout.size
    # moments, their copy while they are joined, and the eigenvectors
    fits = 4 * 8 * size**2 * contexts <= population.memory_bytes
    gatherers: dict[bytes, _Gatherer] = {}
    for block in population.blocks():
        for key, rows in _by_context(block):
            if key not in gatherers:
                gatherers[key] = _Gatherer(_first(block.context, rows), presence, population, fits, covariance)
            gatherers[key].add(block, rows)
    if not fits:
        population.warn(
            f"covariance: of {size} features does not fit into compute.memory; random combinations of the samples "
            "stand for it, which depend on the order of the dataset within the standard error"
        )
    total = sum(gatherer.samples for gatherer in gatherers.values())
    return [one.stratum(key, covariance, one.samples / total) for key, one in sorted(gatherers.items())]


def _by_context(block: PopulationBlock) -> Iterator[tuple[bytes, np.ndarray]]:
    if not block.context:
        yield b"", np.arange(len(block))
        return
    rows: dict[bytes, list[int]] = {}
    for row, key in enumerate(context_keys(block.context, len(block))):
        rows.setdefault(key, []).append(row)
    for key, own in rows.items():
        yield key, np.array(own)


def _first(context: Mapping[str, Tensor], rows: np.ndarray) -> dict[str, Tensor]:
    return {name: tensor[int(rows[0])][None] for name, tensor in context.items()}


class _Gatherer:
    """Takes in the samples of one context."""

    def __init__(
        self,
        context: Mapping[str, Tensor],
        presence: PaddingMask,
        population: Population,
        fits: bool,
        covariance: Covariance,
    ) -> None:
        self._context = {name: np.asarray(tensor.cpu().numpy()) for name, tensor in context.items()}
        self._present = presence.of(context, 1)[0]
        self._population = population
        size = population.layout.size
        self._moments: Moments | _Combinations = (
            Moments(size) if fits else _Combinations(size, covariance.probes or MOST_DIRECTIONS, population.seed)
        )

    @property
    def samples(self) -> int:
        """How many have been taken in."""
        return self._moments.count

    def add(self, block: PopulationBlock, rows: np.ndarray) -> None:
        points = points_of(block)[rows]
        if isinstance(self._moments, Moments):
            self._moments.add(points)
        else:
            self._moments.add(points, block.index[rows])

    def stratum(self, key: bytes, covariance: Covariance, share: float) -> Stratum:
        """What has been gathered; `share` is that of the samples, and of the directions."""
        moments = self._moments
        if isinstance(moments, Moments):
            # what is padding neither varies nor counts
            seen = np.where(np.outer(self._present, self._present), moments.covariance, 0.0)
            random = self._population.generator(zlib.crc32(key))
            factor, exact = directions_of(seen, covariance, random, share)
        else:
            factor, exact = Factor(moments.directions() * self._present, 0.0), 0
        return Stratum(
            samples=moments.count,
            mean=moments.mean,
            directions=factor.directions,
            exact=exact,
            present=self._present,
            retained=factor.retained,
            context=self._context,
        )


def directions_of(
    covariance: np.ndarray, wanted: Covariance, random: np.random.Generator, share: float = 1.0
) -> tuple[Factor, int]:
    """Directions for a covariance, and how many of them, the first ones, are no random probes.

    Probes are R z with the symmetric root R of the covariance and random signs z (Hutchinson 1990): unlike
    combinations of eigenvectors they do not jump when rounding turns one. Where the covariance has no more
    directions than are asked for, these are taken: they cost no more and have no error.

    Arguments:
        covariance: (D, D).
        wanted: how it is to be represented.
        random: draws the signs.
        share: of all samples that have this covariance; they get that share of the directions.
    """
    if wanted.retained is not None:
        factor = factorise(covariance, wanted.retained)
        return factor, len(factor.directions)
    most = max(FEWEST_DIRECTIONS, round(share * (wanted.probes or MOST_DIRECTIONS)))
    for retained in (1.0,) if wanted.probes else (1.0, EXACT_SHARE):
        factor = factorise(covariance, retained)
        if len(factor.directions) <= most:
            return factor, len(factor.directions)
    leading = factorise(covariance, most=0 if wanted.probes else most // 2)
    exact = len(leading.directions)
    rest = covariance - leading.directions.T @ leading.directions
    signs = random.integers(0, 2, (most - exact, len(covariance))) * 2.0 - 1.0
    return Factor(np.concatenate([leading.directions, signs @ symmetric_root(rest)]), leading.retained), exact


class _Combinations:
    """Random combinations of samples, where a covariance would not fit: Σ_n ±(x_n − mean) / sqrt(samples).

    The mean of v vᵀ over the signs is the covariance, so that they serve as probes of it.
    """

    def __init__(self, size: int, probes: int, seed: int) -> None:
        self.count = 0
        self.mean = np.zeros(size)
        self._sums = np.zeros((probes, size))
        self._signs = np.zeros(probes)
        self._seed = seed

    def add(self, points: np.ndarray, index: np.ndarray) -> None:
        """Take in samples (n, size), whose signs belong to their positions in the dataset."""
        signs = np.stack([self._draw(int(sample)) for sample in index])
        count = self.count + len(points)
        # sums are of deviations from the running mean, lest a large mean cost digits
        step = (points - self.mean).sum(axis=0) / count
        self._sums += signs.T @ (points - self.mean - step) - np.outer(self._signs, step)
        self._signs += signs.sum(axis=0)
        self.mean, self.count = self.mean + step, count

    def directions(self) -> np.ndarray:
        """(probes, size)"""
        return np.asarray(self._sums / np.sqrt(self.count))

    def _draw(self, sample: int) -> np.ndarray:
        random = sample_generator(self._seed, sample, Purpose.PLUGIN)
        return np.asarray(random.integers(0, 2, len(self._signs)) * 2.0 - 1.0)
