"""What average causal effects must know of the data beforehand: ranges, levels, padding, contexts."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ...errors import DataError, JobError, suggestion

if TYPE_CHECKING:
    from torch import Tensor

    from ...device import Scorer
    from ...samples import InputSpec
    from ..population import Population, PopulationBlock

__all__ = [
    "MOST_CONTEXTS",
    "MOST_LEVELS",
    "Choice",
    "DataSummary",
    "PaddingMask",
    "context_keys",
    "points_of",
    "quantiles",
    "summarise",
]

MOST_LEVELS = 64
MOST_CONTEXTS = 64
QUANTILE_BINS = 4096
HASH_BINS = 4096
# as device.padding.real_key has it; that module cannot be imported where torch must not be
REAL = "real:"


@dataclass(frozen=True)
class DataSummary:
    """What one pass over the data finds.

    Attributes:
        samples: finite samples.
        present: (D,) int64, samples in which a coordinate is no padding.
        lowest, highest: (D,), over these samples.
        levels: (D, MOST_LEVELS), the distinct values in order, then NaN; NaN alone where there are more.
        rarest: (D,) int64, samples that have the rarest of these values.
        contexts: distinct combinations of what is not studied; MOST_CONTEXTS + 1 for more.
        hashes: (HASH_BINS,), samples by the first bits of a hash of their content.
    """

    samples: int
    present: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    levels: np.ndarray
    rarest: np.ndarray
    contexts: int
    hashes: np.ndarray

    def arrays(self) -> dict[str, np.ndarray]:
        """What `of` makes the summary from again."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> DataSummary:
        """The summary that `arrays` describes."""
        return cls(
            samples=int(arrays["samples"]),
            present=arrays["present"],
            lowest=arrays["lowest"],
            highest=arrays["highest"],
            levels=arrays["levels"],
            rarest=arrays["rarest"],
            contexts=int(arrays["contexts"]),
            hashes=arrays["hashes"],
        )

    def choice(self, count: int) -> Choice:
        """At least `count` samples, and hardly more, if there are as many."""
        return Choice(int(np.searchsorted(np.cumsum(self.hashes), min(count, self.samples))) + 1)


@dataclass(frozen=True)
class Choice:
    """Some of the samples, chosen at random by what they hold, so that their order does not matter.

    Attributes:
        bins: the samples whose hash is in the first of these bins.
    """

    bins: int

    def of(self, points: np.ndarray) -> np.ndarray:
        """(n,) bool, which samples are chosen."""
        return np.asarray(_hash_bins(points) < self.bins)


def _hash_bins(points: np.ndarray) -> np.ndarray:
    hashes = np.array([zlib.crc32(row.tobytes()) for row in points], np.int64)
    return np.asarray(hashes * HASH_BINS >> 32)


def points_of(block: PopulationBlock) -> np.ndarray:
    """(n, D) float64 samples of a block, off the device."""
    return np.asarray(block.points.double().cpu().numpy())


# --- padding --------------------------------------------------------------------------------------


class PaddingMask:
    """Which coordinates of a sample are there, and which are padding.

    Arguments:
        scorer: the network, which knows its inputs.
        lengths: input that holds the steps of each sample, (n,), or a mask of its steps, (n, steps);
            None if the dataset says by itself what is padding, or nothing is.

    Raises:
        JobError: there is no such input beside those that are studied.
    """

    def __init__(self, scorer: Scorer, lengths: str | None) -> None:
        self._specs = scorer.layout.specs
        self._lengths = lengths
        studied = {spec.name for spec in self._specs}
        beside = [spec.name for spec in scorer.inputs if spec.name not in studied]
        if lengths is not None and lengths not in beside:
            raise JobError(
                f"lengths: {lengths!r} is no input beside those that are studied.{suggestion(lengths, beside)} "
                "Name it under dataset.inputs, and leave it out of explain.inputs."
            )

    def of(self, context: Mapping[str, Tensor], rows: int) -> np.ndarray:
        """(rows, D) bool, False where a coordinate is padding."""
        return np.concatenate([self._of_input(spec, context, rows) for spec in self._specs], axis=1)

    def _of_input(self, spec: InputSpec, context: Mapping[str, Tensor], rows: int) -> np.ndarray:
        steps = spec.shape[0] if spec.shape else 1
        real = np.ones((rows, steps), bool)
        given = context.get(REAL + spec.sequence) if spec.sequence else None
        if given is not None:
            real &= given.cpu().numpy().astype(bool)
        if self._lengths is not None and (len(spec.shape) > 1 or len(self._specs) == 1):
            real &= self._by_length(context[self._lengths].cpu().numpy(), steps)
        return np.repeat(real, spec.size // steps, axis=1)

    def _by_length(self, lengths: np.ndarray, steps: int) -> np.ndarray:
        if lengths.ndim == 2 and lengths.shape[1] == steps:
            return lengths.astype(bool)
        if lengths.ndim == 1 or lengths.shape[1:] == (1,):
            return np.arange(steps) < lengths.reshape(-1, 1)
        raise JobError(
            f"lengths: {self._lengths!r} has shape {lengths.shape[1:]} per sample; a number of steps, or a mask "
            f"of the {steps} steps, is needed."
        )


def context_keys(context: Mapping[str, Tensor], rows: int) -> list[bytes]:
    """Equal for samples whose context is equal, whatever else they are."""
    pieces = [context[name].cpu().numpy() for name in sorted(context)]
    flat = [np.ascontiguousarray(piece).reshape(rows, -1).view(np.uint8) for piece in pieces]
    table = np.concatenate([np.zeros((rows, 0), np.uint8), *flat], axis=1)
    return [row.tobytes() for row in table]


# --- one pass -------------------------------------------------------------------------------------


def summarise(population: Population, presence: PaddingMask) -> DataSummary:
    """Read the data once.

    Raises:
        DataError: fewer than two samples are finite.
    """
    size = population.layout.size
    present, samples = np.zeros(size, np.int64), 0
    lowest, highest = np.full(size, np.inf), np.full(size, -np.inf)
    levels, contexts = _Levels(population.specs), set[bytes]()
    hashes = np.zeros(HASH_BINS, np.int64)
    for block in population.blocks():
        points, here = points_of(block), presence.of(block.context, len(block))
        samples += len(block)
        present += here.sum(axis=0)
        lowest = np.minimum(lowest, np.where(here, points, np.inf).min(axis=0))
        highest = np.maximum(highest, np.where(here, points, -np.inf).max(axis=0))
        levels.add(points)
        hashes += np.bincount(_hash_bins(points), minlength=HASH_BINS)
        if block.context and len(contexts) <= MOST_CONTEXTS:
            contexts.update(context_keys(block.context, len(block)))
    if samples < 2:
        raise DataError(f"dataset: {samples} finite samples; average causal effects average over at least two.")
    context_count = min(max(len(contexts), 1), MOST_CONTEXTS + 1)
    return DataSummary(samples, present, lowest, highest, *levels.tables(), context_count, hashes)


class _Levels:
    """The distinct values of each column of a table, as long as they are few."""

    def __init__(self, specs: tuple[InputSpec, ...]) -> None:
        is_table = [np.full(spec.size, len(spec.shape) == 1 and not spec.sequence) for spec in specs]
        self._alive: list[int] = np.flatnonzero(np.concatenate(is_table)).tolist()
        self._size = sum(spec.size for spec in specs)
        self._seen: dict[int, dict[float, int]] = {column: {} for column in self._alive}

    def add(self, points: np.ndarray) -> None:
        self._alive = [column for column in self._alive if self._has_few(column, points[:, column])]

    def _has_few(self, column: int, values: np.ndarray) -> bool:
        distinct, counts = np.unique(values, return_counts=True)
        known = self._seen[column]
        if len(distinct) <= MOST_LEVELS:
            for value, count in zip(distinct.tolist(), counts.tolist(), strict=True):
                known[value] = known.get(value, 0) + count
        return max(len(known), len(distinct)) <= MOST_LEVELS

    def tables(self) -> tuple[np.ndarray, np.ndarray]:
        """(D, MOST_LEVELS) values and (D,) samples of the rarest."""
        values, rarest = np.full((self._size, MOST_LEVELS), np.nan), np.zeros(self._size, np.int64)
        for column in self._alive:
            known = self._seen[column]
            values[column, : len(known)] = sorted(known)
            rarest[column] = min(known.values(), default=0)
        return values, rarest


# --- a second one, for quantiles ------------------------------------------------------------------


def quantiles(
    population: Population, presence: PaddingMask, summary: DataSummary, shares: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """(D,) twice: the values below which two shares of the samples lie, to 1/4096 of the range.

    From counts in equal bins, so that neither memory nor result depend on how many samples there are or
    in which order they come; linear within a bin.
    """
    size = population.layout.size
    counts = np.zeros((size, QUANTILE_BINS))
    width = np.where(summary.highest > summary.lowest, summary.highest - summary.lowest, 1.0)
    for block in population.blocks():
        here = presence.of(block.context, len(block))
        place = (points_of(block) - summary.lowest) / width * QUANTILE_BINS
        bins = np.clip(np.nan_to_num(place), 0, QUANTILE_BINS - 1).astype(np.int64)
        for column in range(size):
            counts[column] += np.bincount(bins[here[:, column], column], minlength=QUANTILE_BINS)
    positions = [_quantile(counts, share) / QUANTILE_BINS for share in shares]
    return summary.lowest + positions[0] * width, summary.lowest + positions[1] * width


def _quantile(counts: np.ndarray, share: float) -> np.ndarray:
    """(D,) place, in bins, below which a share of the counts lies."""
    edges = np.concatenate([np.zeros((len(counts), 1)), np.cumsum(counts, axis=1)], axis=1)
    wanted = share * edges[:, -1]
    after = np.clip((edges < wanted[:, None]).sum(axis=1), 1, edges.shape[1] - 1)
    rows = np.arange(len(counts))
    before, there = edges[rows, after - 1], edges[rows, after]
    inside = np.zeros(len(counts))
    np.divide(wanted - before, there - before, where=there > before, out=inside)
    return np.asarray(after - 1 + inside)
