"""Stratified draws of path positions and baselines, in independent replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...randomness import Purpose, sample_generator

__all__ = ["Replicates", "SamplingRule", "draw_replicates"]


@dataclass(frozen=True)
class SamplingRule:
    """Independent replicates of stratified draws, doubled until a row's reported error is at most `rtol`.

    Attributes:
        rtol: relative error at which a row stops.
        max_draws: no row evaluates more gradients than this.
        replicate_size: draws per replicate, one per stratum of the path.
        replicates: of the first round; later rounds double the total.
        seed: of the job.

    Example:
        >>> SamplingRule(rtol=0.05, max_draws=4096, replicate_size=8, replicates=4, seed=0).replicates
        4
    """

    rtol: float
    max_draws: int
    replicate_size: int
    replicates: int
    seed: int


@dataclass(frozen=True)
class Replicates:
    """Draws of path positions and backgrounds, in independent groups of `size` stratified draws.

    Attributes:
        t: (rows, replicates, size) float64 path positions in (0, 1), one in each of `size` strata.
        draw: (rows, replicates, size) int64 indices into the background, no index twice in a replicate
            (as long as the background is not smaller than a replicate).

    Example:
        >>> draws = draw_replicates(0, [3], first=0, count=2, size=4, background=10)
        >>> draws.t.shape, draws.draw.shape
        ((1, 2, 4), (1, 2, 4))
    """

    t: np.ndarray
    draw: np.ndarray


def draw_replicates(
    seed: int, samples: Sequence[int], *, first: int, count: int, size: int, background: int
) -> Replicates:
    """Replicates number `first` to `first + count − 1` of each sample.

    A replicate is a Latin square of two: α from every stratum ((k, k+1)/size) once, and a random subset of
    the background, matched at random. Each replicate alone is an unbiased estimate, and replicates are
    independent, so their spread gives the standard error.

    Example:
        >>> draws = draw_replicates(0, [3], first=0, count=1, size=4, background=4)
        >>> (draws.t * 4).astype(int)[0, 0].tolist(), sorted(draws.draw[0, 0].tolist())
        ([0, 1, 2, 3], [0, 1, 2, 3])
    """
    shape = (len(samples), count, size)
    t, draw = np.empty(shape), np.empty(shape, dtype=np.int64)
    strata = np.arange(size)
    for i, sample in enumerate(samples):
        for j in range(count):
            random = sample_generator(seed, int(sample), Purpose.EXPECTATION, stream=first + j)
            t[i, j] = (strata + random.random(size)) / size
            draw[i, j] = _without_repetition(random, background, size)
    return Replicates(t, draw)


def _without_repetition(random: np.random.Generator, population: int, size: int) -> np.ndarray:
    rounds = -(-size // population)
    if rounds == 1:
        return random.choice(population, size, replace=False)
    return np.concatenate([random.permutation(population) for _ in range(rounds)])[:size]
