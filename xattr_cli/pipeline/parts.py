"""How a job is cut into parts: those that hold rows, and one for each engine that studies the whole dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ..engines.base import LocalEngine, PopulationEngine
from ..job.config import Job
from ..samples import InputSpec

__all__ = ["PartPlan", "plan_parts", "population_engines", "row_engines", "rows_of_part"]

PART_BYTES = 32 * 2**20
MOST_PART_ROWS = 1024
BYTES_PER_VALUE = 4


def rows_of_part(asked: int | Literal["auto"], values_per_row: int) -> int:
    """Rows of a part: as asked, or so many that their largest array takes 32 MiB, and at most 1024.

    Arguments:
        asked: `output.part_rows` of the job.
        values_per_row: numbers in the largest array that a row has.
    """
    if asked != "auto":
        return asked
    return max(1, min(MOST_PART_ROWS, PART_BYTES // (BYTES_PER_VALUE * values_per_row)))


@dataclass(frozen=True, eq=False)
class PartPlan:
    """Which rows, or which study, each part of a job holds: those of rows first, then those of studies.

    Attributes:
        rows: of the whole job.
        part_rows: of a part.
        rows_per_sample: how many targets of every sample are explained; the most, where they differ.
        studies: labels of the engines that study the whole dataset.
        counts: (samples,) targets of each sample; None if all have `rows_per_sample`.
    """

    rows: int
    part_rows: int
    rows_per_sample: int
    studies: Sequence[str] = ()
    counts: np.ndarray | None = None

    def __len__(self) -> int:
        return self.row_parts + len(self.studies)

    @property
    def row_parts(self) -> int:
        """Number of parts that hold rows."""
        return -(-self.rows // self.part_rows)

    @property
    def population_parts(self) -> dict[int, str]:
        """Number of a part → the engine whose effects it holds."""
        return dict(enumerate(self.studies, self.row_parts))

    def part(self, number: int) -> slice:
        """The rows of a part; none in those of studies."""
        start = min(number * self.part_rows, self.rows)
        return slice(start, min(start + self.part_rows, self.rows))

    def samples_of(self, rows: slice) -> tuple[int, int]:
        """First sample of some rows, and the one after their last."""
        first, last = self.sample_of(np.array([rows.start, max(rows.start, rows.stop - 1)])).tolist()
        return first, last + 1 if rows.stop > rows.start else first

    def sample_of(self, rows: np.ndarray) -> np.ndarray:
        """The sample of each of some rows (n,) int64."""
        if self.counts is None:
            return rows // self.rows_per_sample
        samples: np.ndarray = np.searchsorted(self._ends, rows, side="right")
        return samples

    def first_row(self, samples: np.ndarray) -> np.ndarray:
        """(n,) int64, the first row of each of some samples."""
        if self.counts is None:
            return samples * self.rows_per_sample
        first: np.ndarray = np.concatenate([[0], self._ends])[samples]
        return first

    @cached_property
    def _ends(self) -> np.ndarray:
        ends: np.ndarray = np.cumsum([] if self.counts is None else self.counts, dtype=np.int64)
        return ends


def row_engines(job: Job) -> dict[str, LocalEngine | PopulationEngine]:
    """The engines of a job that explain rows, by label."""
    return {
        label: engine
        for label, engine in job.engines.items()
        if not isinstance(engine, PopulationEngine) or engine.explains_rows
    }


def population_engines(job: Job) -> dict[str, PopulationEngine]:
    """The engines of a job that study the whole dataset, by label."""
    return {label: engine for label, engine in job.engines.items() if isinstance(engine, PopulationEngine)}


def plan_parts(
    job: Job, samples: int, per_sample: int, specs: Sequence[InputSpec], counts: np.ndarray | None = None
) -> PartPlan:
    """The parts of a job.

    Arguments:
        job: what is explained, and how large parts may be.
        samples: in the dataset.
        per_sample: targets that are explained of every sample.
        specs: of the explained tensors.
        counts: (samples,) targets of each sample, if some have fewer.
    """
    explaining = row_engines(job)
    local = [engine for engine in explaining.values() if isinstance(engine, LocalEngine)]
    values = max(sum(spec.size for spec in specs), *(engine.values_per_row(specs) for engine in local), 1)
    return PartPlan(
        rows=(samples * per_sample if counts is None else int(counts.sum())) if explaining else 0,
        part_rows=rows_of_part(job.output.part_rows, values),
        rows_per_sample=per_sample,
        studies=tuple(population_engines(job)),
        counts=counts,
    )
