"""An open job: its network on the device, its data, and the rows that follow from them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..baselines import Baseline, BoundBaseline
from ..datasets import Samples, finite_rows
from ..device import Rows, Scorer, choose_targets, predictions, real_key
from ..device.packing import is_out_of_memory
from ..engines.base import LocalEngine, PopulationEngine
from ..engines.block import Block
from ..engines.population import Memo, Population, PopulationBlock
from ..engines.sweeps import SweepKey, SweepRequest
from ..errors import JobError, RunError, XattrError
from ..job.config import Job
from ..models import LoadedModel
from ..samples import Batch, InputSpec, Layout
from .memory import Footprint, WorkingMemory
from .preflight import check_labels

__all__ = ["NoMemo", "RowTable", "Session"]

_LOG = logging.getLogger(__name__)

PART_BYTES = 32 * 2**20
MOST_PART_ROWS = 1024
STORED_INPUT_BYTES = 64 * 2**20
STORED_SAMPLES = 64
MEMORY_BYTES = 2**30


@dataclass(frozen=True)
class RowTable:
    """What the rows of a part are, before anything is explained.

    Attributes:
        id: (rows,) number of each row in the whole job.
        sample, target: (rows,) which sample and which output it explains.
        label: (rows,) the sample's label; -1 or NaN if there is none.
        prediction: (rows,) predicted class (-1 if the inputs or its score are not finite) or predicted value.
        finite: (rows,) whether the sample's inputs are free of NaN and infinity.
        batch: the samples of these rows.
        position: (rows,) of each row's sample in `batch`.
    """

    id: np.ndarray
    sample: np.ndarray
    target: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    finite: np.ndarray
    batch: Batch
    position: np.ndarray


@dataclass
class Session:
    """An open job; made by `pipeline.opening.open_session`.

    Attributes:
        job: what was asked for.
        model, samples: as loaded.
        layout: how the explained inputs lie in a row.
        scorer: the frozen network on its device.
        targets: outputs that can be explained.
        planned: the sweeps that the engines share.
        kinks: operations of the network that may have kinks; decides the formula of the error bar.
        effects: what population engines have found, by label; those that explain rows need it.
        working: how many rows are worked on at once.
    """

    job: Job
    model: LoadedModel
    samples: Samples
    layout: Layout
    scorer: Scorer
    targets: int
    planned: Mapping[SweepKey, SweepRequest]
    kinks: tuple[str, ...] = ()
    effects: dict[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    working: WorkingMemory = field(default_factory=lambda: WorkingMemory(Footprint(), MEMORY_BYTES, binding=False))
    _bound: dict[str, BoundBaseline] = field(default_factory=dict)
    _background: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def rows_per_sample(self) -> int:
        """How many targets of every sample are explained."""
        target = self.job.target
        if target.select == "all":
            return self.targets
        return target.count or len(target.index) or 1

    @property
    def row_engines(self) -> dict[str, LocalEngine | PopulationEngine]:
        """The engines that explain rows, by label."""
        return {
            label: engine
            for label, engine in self.job.engines.items()
            if not isinstance(engine, PopulationEngine) or engine.explains_rows
        }

    @property
    def population_engines(self) -> dict[str, PopulationEngine]:
        """The engines that study the whole dataset, by label."""
        return {k: engine for k, engine in self.job.engines.items() if isinstance(engine, PopulationEngine)}

    @property
    def all_rows(self) -> int:
        """Rows that could be explained: every sample with each of its targets."""
        return len(self.samples) * self.rows_per_sample

    @property
    def rows(self) -> int:
        """Rows of the whole job; none if no engine explains rows."""
        return self.all_rows if self.row_engines else 0

    @property
    def memory_bytes(self) -> int:
        """What a method may hold at once, beside network and data."""
        asked = self.job.compute.memory
        return MEMORY_BYTES if asked == "auto" else asked

    @property
    def part_rows(self) -> int:
        """Rows of a part: so many that their maps, or matrices, take 32 MiB, and at most 1024."""
        asked = self.job.output.part_rows
        if asked != "auto":
            return asked
        return max(1, min(MOST_PART_ROWS, PART_BYTES // (4 * self._values_per_row)))

    @cached_property
    def _values_per_row(self) -> int:
        """Numbers in the largest array of a row."""
        engines = [engine for engine in self.row_engines.values() if isinstance(engine, LocalEngine)]
        return max(self.layout.size, *(engine.values_per_row(self.layout.specs) for engine in engines), 1)

    @property
    def row_parts(self) -> int:
        """Number of parts that hold rows."""
        return -(-self.rows // self.part_rows)

    @property
    def parts(self) -> int:
        """Number of parts that the job is cut into: those of rows, then one per population engine."""
        return self.row_parts + len(self.population_engines)

    @property
    def population_parts(self) -> dict[int, str]:
        """Number of a part -> the population engine whose effects it holds."""
        return dict(enumerate(self.population_engines, self.row_parts))

    def part(self, number: int) -> slice:
        """The rows of a part; none in those of population engines."""
        start = min(number * self.part_rows, self.rows)
        return slice(start, min(start + self.part_rows, self.rows))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs, as the dataset has them, else the model; empty if neither has."""
        return self.samples.classes or self.model.outputs

    @property
    def stored_specs(self) -> tuple[InputSpec, ...]:
        """The inputs that are kept for plots: all of them where a tensor inside the network is explained."""
        return self.samples.plain.inputs if self.scorer.sites else self.layout.specs

    @property
    def stored_samples(self) -> int:
        """How many of the first samples have their inputs in the file."""
        asked, samples = self.job.output.store_inputs, len(self.samples)
        if asked == "auto":
            size = samples * sum(spec.size * spec.dtype.itemsize for spec in self.stored_specs)
            return samples if size <= STORED_INPUT_BYTES else STORED_SAMPLES
        if asked == "none":
            return 0
        return samples if asked == "all" else asked

    def read_batch(self, rows: slice) -> Batch | None:
        """Read the samples of some rows, as another thread computes; None if memory is too short for both.

        Raises:
            RunError: the dataset fails on these samples.
        """
        first, last = self._samples_of(rows)
        try:
            return self.samples.read(first, last)
        except XattrError:
            raise
        except Exception as error:  # a dataset of the user's own raises what it likes
            if is_out_of_memory(error):
                return None
            raise RunError(f"samples {first} to {last - 1}: {type(error).__name__}: {error}") from error

    def _samples_of(self, rows: slice) -> tuple[int, int]:
        return rows.start // self.rows_per_sample, -(-rows.stop // self.rows_per_sample)

    def read_rows(self, rows: slice, batch: Batch | None = None) -> RowTable:
        """Read the samples of some rows, unless they are given, and find their targets."""
        per_sample = self.rows_per_sample
        first, last = self._samples_of(rows)
        batch = self.samples.read(first, last) if batch is None else batch
        points, context = self.tensors(batch)
        scores = self.scorer.scores(points, context).cpu()
        labels = None if batch.labels is None else torch.from_numpy(batch.labels)
        target = self.job.target
        if target.select == "label":
            check_labels(batch.labels, self.targets, first)
        chosen = choose_targets(scores, labels, target.select, target.index, target.count)
        finite = finite_rows(batch)
        predicted = predictions(scores).numpy()
        if predicted.dtype == np.int64:
            # a class that is ruled out by a score of -inf spoils nothing, unless all are
            predicted = np.where(finite & torch.isfinite(scores.amax(dim=1)).numpy(), predicted, -1)
        here = slice(rows.start - first * per_sample, rows.stop - first * per_sample)
        position = np.repeat(np.arange(len(batch)), per_sample)[here]
        known = np.full(len(batch), -1) if batch.labels is None else batch.labels
        return RowTable(
            id=np.arange(rows.start, rows.stop),
            sample=batch.index[position],
            target=chosen.reshape(-1).numpy()[here],
            label=known[position],
            prediction=predicted[position],
            finite=finite[position],
            batch=batch,
            position=position,
        )

    def block(self, table: RowTable) -> Block:
        """The workbench on which engines explain these rows."""
        points, context = self.tensors(table.batch)
        position = torch.from_numpy(table.position).to(self.scorer.device)
        rows = Rows(
            inputs=points[position],
            context={name: tensor[position] for name, tensor in context.items()},
            target=torch.from_numpy(table.target).to(self.scorer.device),
            sample=torch.from_numpy(table.sample),
        )
        baselines = _BatchBaselines(self, table.batch, position)
        return Block(
            rows,
            self.scorer,
            baselines,
            planned=self.planned,
            seed=self.job.compute.seed,
            smooth=not self.kinks,
            memory_bytes=self.memory_bytes,
        )

    def population(
        self,
        label: str,
        *,
        memo: Memo | None = None,
        stage: Callable[[str, int, int], None] = lambda label, done, total: None,
    ) -> Population:
        """The workbench on which a population engine studies the dataset.

        Arguments:
            label: of the engine.
            memo: durable memory for results on the way; None for none.
            stage: told the label, the steps done and the steps to do.
        """
        target = self.job.target
        return Population(
            label=label,
            seed=self.job.compute.seed,
            scorer=self.scorer,
            targets=target.index if target.select == "index" else tuple(range(self.targets)),
            classes=self.classes,
            memory_bytes=self.memory_bytes,
            output=self.job.output.path,
            source=_WholeDataset(self),
            memo=NoMemo() if memo is None else memo,
            tell=_LOG.warning,
            stage=stage,
        )

    def tensors(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Explained inputs (n, D) and context of a batch, on the device."""
        explained = {spec.name for spec in self.layout.specs}
        context = {
            name: self.scorer.tensor(values) for name, values in batch.inputs.items() if name not in explained
        }
        context |= {real_key(name): self.scorer.tensor(real) for name, real in batch.real.items()}
        return self.flat(batch.inputs), context

    def flat(self, inputs: Mapping[str, np.ndarray]) -> Tensor:
        """(n, D) of the explained tensors among `inputs`."""
        pieces = [self.scorer.tensor(piece) for piece in self.layout.flatten(inputs)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def bound(self, baseline: Baseline) -> BoundBaseline:
        """A baseline bound to these data, once per job."""
        key = _key(baseline)
        if key not in self._bound:
            names = [spec.name for spec in self.layout.specs]
            self._bound[key] = baseline.bind(self.samples, self.job.compute.seed, names)
        return self._bound[key]

    def baseline_fingerprints(self) -> dict[str, str]:
        """Hashes of the files that baselines were read from, by engine label."""
        found: dict[str, str] = {}
        for label, engine in self.job.engines.items():
            baseline = getattr(engine, "baseline", None)
            if isinstance(baseline, Baseline):
                found[label] = self.bound(baseline).fingerprint
        return {label: fingerprint for label, fingerprint in found.items() if fingerprint}

    def background(self, baseline: Baseline) -> tuple[Tensor, Tensor]:
        """The background set (m, D) of a baseline, and the mean score (targets,) over it.

        The scores are NaN if the model takes context, which differs from row to row.
        """
        key = _key(baseline)
        if key not in self._background:
            points = self.flat(self._background_arrays(baseline))
            scores = points.new_full((self.targets,), torch.nan)
            if not self.scorer.has_context:
                scores = self.scorer.scores(points, {}).double().mean(dim=0).to(points.dtype)
            self._background[key] = points, scores
        return self._background[key]

    def _background_arrays(self, baseline: Baseline) -> Mapping[str, np.ndarray]:
        arrays = self.bound(baseline).background()
        if arrays is None:
            raise JobError(
                f"baseline kind {baseline.registered_name!r} is a single baseline, but expected gradients "
                "need a set of them. Use {kind: samples, count: 64}."
            )
        return dict(arrays)


@dataclass(frozen=True)
class _BatchBaselines:
    """Baselines for the rows of one batch; see `engines.block.Baselines`."""

    session: Session
    batch: Batch
    position: Tensor

    def reference(self, baseline: Any, sample: Tensor) -> Tensor:
        arrays = self.session.bound(baseline).reference(self.batch)
        return self.session.flat(arrays)[self.position]

    def background(self, baseline: Any) -> Tensor:
        return self.session.background(baseline)[0]

    def background_scores(self, baseline: Any) -> Tensor:
        return self.session.background(baseline)[1]


@dataclass(frozen=True)
class _WholeDataset:
    """The finite samples of a session; see `engines.population.PopulationSource`."""

    session: Session

    def __len__(self) -> int:
        return len(self.session.samples)

    def read(self, start: int, stop: int) -> PopulationBlock:
        batch = self.session.samples.read(start, stop)
        finite = finite_rows(batch)
        points, context = self.session.tensors(batch)
        keep = torch.from_numpy(np.flatnonzero(finite)).to(points.device)
        return PopulationBlock(
            points=points[keep],
            context={name: tensor[keep] for name, tensor in context.items()},
            index=batch.index[finite],
            labels=None if batch.labels is None else batch.labels[finite],
        )

    def background(self, baseline: Any) -> Tensor:
        return self.session.background(baseline)[0]


class NoMemo:
    """A memory that keeps nothing; see `engines.population.Memo`."""

    def recall(self, label: str, name: str) -> None:
        """Nothing."""

    def keep(self, label: str, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Forget it."""


def _key(baseline: Baseline) -> str:
    return json.dumps(baseline.model_dump(mode="json"), sort_keys=True)
