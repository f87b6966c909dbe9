"""The rows that are evaluated, block by block: inputs, targets, and what takes the place of what is replaced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ..baselines import Baseline
from ..device import Rows
from ..engines.block import Block
from ..errors import JobError
from ..metrics import Stream
from ..pipeline.session import RowTable, Session
from ..randomness import Purpose, sample_generator
from ..store.results.arrays import BLOCK_BYTES
from ..store.results.reader import Results
from .inquiry import EvaluationOptions
from .scoring import FeatureReplacement

__all__ = ["EvaluatedBlock", "Reader", "sample_generators"]

MOST_BLOCK_ROWS = 512


def sample_generators(seed: int, samples: np.ndarray, stream: int) -> Iterator[np.random.Generator]:
    """The generator of each row's sample, so that a row's random numbers never depend on other rows."""
    for sample in samples.tolist():
        yield sample_generator(seed, sample, Purpose.EVALUATION, stream)


@dataclass(frozen=True)
class EvaluatedBlock:
    """Some rows to evaluate.

    Attributes:
        positions: (rows,) int64, positions among all rows.
        samples, targets: (rows,) int64, what each row explains.
        rows: the same on the device.
        replacement: what takes the place of replaced units.
        workbench: on which engines explain these rows once more.
        keys: a printable name per row; empty if the dataset has none.
    """

    positions: np.ndarray
    samples: np.ndarray
    targets: np.ndarray
    rows: Rows
    replacement: FeatureReplacement
    workbench: Block
    keys: tuple[str, ...] = ()

    def part(self, rows: slice) -> EvaluatedBlock:
        """Some consecutive rows of the block."""
        here = Rows(
            inputs=self.rows.inputs[rows],
            context={name: tensor[rows] for name, tensor in self.rows.context.items()},
            target=self.rows.target[rows],
            sample=self.rows.sample[rows],
        )
        return replace(
            self,
            positions=self.positions[rows],
            samples=self.samples[rows],
            targets=self.targets[rows],
            rows=here,
            replacement=self.replacement.part(rows),
            keys=self.keys[rows],
        )


@dataclass(frozen=True)
class Reader:
    """Reads the rows of a file from its dataset; where it explains none, those that its job stands for."""

    results: Results
    session: Session
    inquiry: EvaluationOptions

    def positions(self) -> np.ndarray:
        """(rows,) int64 positions of the rows to evaluate: all, or a number spread evenly over them."""
        total = len(self.results.rows) or self.session.all_rows
        asked = self.inquiry.limit
        if asked is None or asked >= total:
            return np.arange(total)
        return np.linspace(0, total - 1, asked).round().astype(np.int64)

    def blocks(self) -> Iterator[EvaluatedBlock]:
        """The rows to evaluate, in order, some at a time."""
        positions = self.positions()
        size = max(1, min(MOST_BLOCK_ROWS, BLOCK_BYTES // (8 * self.session.layout.size)))
        for start in range(0, len(positions), size):
            yield self._read(positions[start : start + size])

    def _read(self, positions: np.ndarray) -> EvaluatedBlock:
        numbers = self.results.rows.id[positions] if len(self.results.rows) else positions
        runs = np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers) != 1) + 1)
        tables = [self._table(positions[run], numbers[run]) for run in runs]
        blocks = [self.session.block(table) for table in tables]
        rows = Rows.joined([block.rows for block in blocks])
        return EvaluatedBlock(
            positions=positions,
            samples=np.concatenate([table.sample for table in tables]),
            targets=np.concatenate([table.target for table in tables]),
            rows=rows,
            replacement=self._replacement(rows, blocks),
            workbench=self._workbench(rows, blocks),
            keys=tuple(table.batch.keys[i] for table in tables if table.batch.keys for i in table.position),
        )

    def _workbench(self, rows: Rows, blocks: list[Block]) -> Block:
        if len(blocks) == 1:
            return blocks[0]
        first = blocks[0]
        return Block(
            rows,
            first.scorer,
            _JoinedBaselines(self.session, blocks),
            planned=self.session.sweeps,
            seed=first.seed,
            smooth=first.smooth,
            cells=first.cells,
            consistent=first.consistent,
            memory_bytes=first.memory_bytes,
        )

    def _table(self, positions: np.ndarray, numbers: np.ndarray) -> RowTable:
        """Consecutive rows of the job, with the targets that the file has for them."""
        if numbers[-1] >= self.session.all_rows:
            raise JobError(
                f"{self.results.path}: row {numbers[-1]} lies beyond the dataset, which now stands for "
                f"{self.session.all_rows} rows. Evaluate the maps on the data that they explain."
            )
        table = self.session.read_rows(slice(int(numbers[0]), int(numbers[-1]) + 1))
        known = self.results.rows
        if not len(known):
            return table
        if not np.array_equal(table.sample, known.sample[positions]):
            raise JobError(
                f"{self.results.path}: row {numbers[0]} explains sample {known.sample[positions][0]}, but the "
                f"dataset now has sample {table.sample[0]} there. Evaluate the maps on the data that they explain."
            )
        # not those found again: between two nearly equal scores, rounding may choose another one here
        return replace(table, target=known.target[positions])

    # --- replacements ---

    def _replacement(self, rows: Rows, blocks: list[Block]) -> FeatureReplacement:
        baseline = self.inquiry.perturbation
        if self.session.baselines.bound(baseline).is_several:
            return self._turns(baseline, rows)
        table = torch.cat([block.reference(baseline) for block in blocks])
        return FeatureReplacement(table, torch.arange(len(rows), device=table.device)[:, None])

    def _turns(self, baseline: Baseline, rows: Rows) -> FeatureReplacement:
        """Random members of a background for each row, by its seed and sample; others than the row itself."""
        table = self.session.baselines.background(baseline)[0]
        draws = min(self.inquiry.draws, max(1, len(table) - 1))
        seed, samples = self.session.job.compute.seed, rows.sample.numpy()
        index = np.empty((len(rows), draws), np.int64)
        for row, generator in enumerate(sample_generators(seed, samples, Stream.REPLACEMENT)):
            order = generator.permutation(len(table))
            is_itself = (table == rows.inputs[row]).all(dim=1).cpu().numpy()
            index[row] = order[np.argsort(is_itself[order], kind="stable")][:draws]
        return FeatureReplacement(table, torch.from_numpy(index).to(table.device))


@dataclass(frozen=True)
class _JoinedBaselines:
    """Baselines of several blocks, one after the other."""

    session: Session
    blocks: list[Block]

    def reference(self, baseline: object, sample: Tensor) -> Tensor:
        return torch.cat([block.reference(baseline) for block in self.blocks])

    def background(self, baseline: object) -> Tensor:
        return self.session.baselines.background(cast(Baseline, baseline))[0]

    def background_scores(self, baseline: object) -> Tensor:
        return self.session.baselines.background(cast(Baseline, baseline))[1]
