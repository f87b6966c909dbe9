"""An open job: its network on the device, its data, and the rows that follow from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..datasets import Samples, finite_rows
from ..datasets.text.continued import CONTINUATION, CONTRAST, CONTRAST_OUTPUT, OUTPUT, named_outputs
from ..device import Rows, Scorer, choose_targets, predictions
from ..device.curvature.network import follow_ways, settled_ways
from ..device.packing import is_out_of_memory
from ..engines.block import Block
from ..engines.population import Memo, Population, PopulationBlock
from ..engines.sweeps import SweepKey, SweepRequest
from ..errors import RunError, XattrError
from ..job.config import Job
from ..models import LoadedModel
from ..numerics.cells.calibration import Calibration
from ..samples import Batch, InputSpec, Layout
from .baselines import BaselineCache
from .checks.preflight import check_labels, labels_missing
from .checks.probe import Probe
from .memory import Settings, memory_of
from .parts import PartPlan

__all__ = ["NoMemo", "RowTable", "Session"]

_LOG = logging.getLogger(__name__)

STORED_INPUT_BYTES = 64 * 2**20
STORED_SAMPLES = 64


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
        output: (rows,) texts, the output token that each row explains, or the whole continuation; None where
            samples have no continuation.
    """

    id: np.ndarray
    sample: np.ndarray
    target: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    finite: np.ndarray
    batch: Batch
    position: np.ndarray
    output: np.ndarray | None = None


@dataclass(frozen=True)
class Session:
    """An open job, whole from the start; made by `pipeline.opening.open_session`.

    Attributes:
        job: what was asked for.
        model, samples: as loaded.
        scorer: the frozen network on its device, run as the settings say.
        probe: what the first samples told about the network.
        settings: how the job is run.
        parts: which rows each part of the job holds.
        sweeps: that the engines share.
        baselines: of the job, bound to the data.
        cells: the sweeps that are made of secant cells, and what the job's rows have told about them.
        effects: what population engines have found, by label; those that explain rows need it.
        contradictions: what shows that autograd is not the derivative of the network; empty if nothing does.
    """

    job: Job
    model: LoadedModel
    samples: Samples
    scorer: Scorer
    probe: Probe
    settings: Settings
    parts: PartPlan
    sweeps: Mapping[SweepKey, SweepRequest]
    baselines: BaselineCache[Tensor]
    cells: Mapping[SweepKey, Calibration] = field(default_factory=dict)
    effects: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    contradictions: tuple[str, ...] = ()

    @property
    def layout(self) -> Layout:
        """How the explained inputs lie in a row."""
        return self.scorer.layout

    @property
    def all_rows(self) -> int:
        """Rows that could be explained: every sample with each of its targets."""
        parts = self.parts
        return len(self.samples) * parts.rows_per_sample if parts.counts is None else int(parts.counts.sum())

    @property
    def memory_bytes(self) -> int:
        """What a method may hold at once, beside network and data."""
        return memory_of(self.job)

    @property
    def settled(self) -> dict[str, Any]:
        """What is settled when a job is opened, as its plan has it."""
        return {
            "batch_rows": self.scorer.packing.rows,
            "kinks": list(self.probe.kinks),
            "curvature": settled_ways(self.scorer),
        }

    def following(self, plan: Mapping[str, Any]) -> Session:
        """This job, run as the plan of its parts says, so that resumed runs and shards get the same bits.

        Arguments:
            plan: "batch_rows", "kinks", "curvature", "execution" and, once it is settled, "integration".
        """
        cells = zip(self.sweeps, plan.get("integration", ()), strict=False)
        settings = self.settings.following(plan, self.job)
        scorer = settings.applied_to(self.scorer)
        follow_ways(scorer, plan.get("curvature", {}))
        return replace(
            self,
            scorer=scorer,
            probe=replace(self.probe, kinks=tuple(plan["kinks"])),
            settings=settings,
            cells={key: Calibration.of(stored) for key, stored in cells if stored is not None},
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done on the way and is not obvious, for the record."""
        return (
            *self.samples.notes,
            *self.model.notes,
            *self.probe.notes,
            *self.scorer.repairs.notes,
            *self.contradictions,
        )

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
        first, last = self.parts.samples_of(rows)
        try:
            return self.samples.read(first, last)
        except XattrError:
            raise
        except Exception as error:  # a dataset of the user's own raises what it likes
            if is_out_of_memory(error):
                return None
            raise RunError(f"samples {first} to {last - 1}: {type(error).__name__}: {error}") from error

    def read_rows(self, rows: slice, batch: Batch | None = None) -> RowTable:
        """Read the samples of some rows, unless they are given, and find their targets."""
        first, last = self.parts.samples_of(rows)
        batch = self.samples.read(first, last) if batch is None else batch
        points, context = self.scorer.placed(batch)
        scores = self.scorer.evidence(points, context).cpu()
        labels = None if batch.labels is None else torch.from_numpy(batch.labels)
        target = self.job.target
        finite = finite_rows(batch)
        if target.select == "label" and batch.labels is not None and self.probe.targets.count > 1:
            patient = self.job.dataset.bad_rows == "quarantine"
            check_labels(batch.labels, self.probe.targets.count, first, patient=patient)
            finite &= ~labels_missing(batch.labels)
            labels = torch.from_numpy(np.where(labels_missing(batch.labels), 0, batch.labels))
        asked_targets = self.probe.targets
        column = None if asked_targets.column is None else asked_targets.column[first:last]
        chosen = choose_targets(scores, labels, target.select, asked_targets.index, target.count, column)
        predicted = predictions(scores).numpy()
        if predicted.dtype == np.int64:
            # a class that is ruled out by a score of -inf spoils nothing, unless all are
            predicted = np.where(finite & torch.isfinite(scores.amax(dim=1)).numpy(), predicted, -1)
        begin = int(self.parts.first_row(np.array([first]))[0])
        here = slice(rows.start - begin, rows.stop - begin)
        asked = chosen.numpy() >= 0  # a sample may have fewer targets than others
        position = np.nonzero(asked)[0][here]
        if (
            asked_targets.places or self.scorer.view.given
        ):  # no class is predicted of a sample, but one at each position
            predicted = np.full(len(batch), -1)
        labelled = np.full(len(batch), -1) if batch.labels is None else batch.labels
        targets = chosen.numpy()[asked][here]
        return RowTable(
            id=np.arange(rows.start, rows.stop),
            sample=batch.index[position],
            target=targets,
            label=labelled[position],
            prediction=predicted[position],
            finite=finite[position],
            batch=batch,
            position=position,
            output=self._outputs(batch, position, targets),
        )

    def _outputs(self, batch: Batch, position: np.ndarray, targets: np.ndarray) -> np.ndarray | None:
        """(rows,) what the output tokens that rows explain are called."""
        view = self.scorer.view
        if not view.given or OUTPUT not in batch.tokens:
            return None
        if view.reduce != "none":
            texts = [batch.texts[name] for name in (CONTINUATION, CONTRAST) if name in batch.texts]
            return named_outputs([[each[row] for row in position] for each in texts])
        tokens = [batch.tokens[name] for name in (OUTPUT, CONTRAST_OUTPUT) if name in batch.tokens]
        return named_outputs([each[position, targets] for each in tokens])

    def block(self, table: RowTable, fold: Scorer | None = None) -> Block:
        """The workbench on which engines explain these rows: of the mean over folds, or of one of them."""
        points, context = self.scorer.placed(table.batch)
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
            fold or self.scorer,
            baselines,
            planned=self.sweeps,
            seed=self.job.compute.seed,
            smooth=not self.probe.kinks,
            cells={} if fold else self.cells,  # which are calibrated on the mean over folds
            consistent=not self.contradictions,
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
        return Population(
            label=label,
            seed=self.job.compute.seed,
            scorer=self.scorer,
            targets=self.probe.targets.index or tuple(range(self.probe.targets.count)),
            classes=self.classes,
            memory_bytes=self.memory_bytes,
            output=self.job.output.path,
            source=_WholeDataset(self),
            memo=NoMemo() if memo is None else memo,
            tell=_LOG.warning,
            stage=stage,
        )


@dataclass(frozen=True)
class _BatchBaselines:
    """Baselines for the rows of one batch; see `engines.block.Baselines`."""

    session: Session
    batch: Batch
    position: Tensor

    def reference(self, baseline: Any, sample: Tensor) -> Tensor:
        arrays = self.session.baselines.bound(baseline).reference(self.batch)
        return self.session.scorer.flat(arrays)[self.position]

    def background(self, baseline: Any) -> Tensor:
        return self.session.baselines.background(baseline)[0]

    def background_scores(self, baseline: Any) -> Tensor:
        return self.session.baselines.background(baseline)[1]


@dataclass(frozen=True)
class _WholeDataset:
    """The finite samples of a session; see `engines.population.PopulationSource`."""

    session: Session

    def __len__(self) -> int:
        return len(self.session.samples)

    def read(self, start: int, stop: int) -> PopulationBlock:
        batch = self.session.samples.read(start, stop)
        finite = finite_rows(batch)
        points, context = self.session.scorer.placed(batch)
        keep = torch.from_numpy(np.flatnonzero(finite)).to(points.device)
        return PopulationBlock(
            points=points[keep],
            context={name: tensor[keep] for name, tensor in context.items()},
            index=batch.index[finite],
            labels=None if batch.labels is None else batch.labels[finite],
        )

    def background(self, baseline: Any) -> Tensor:
        return self.session.baselines.background(baseline)[0]


class NoMemo:
    """A memory that keeps nothing; see `engines.population.Memo`."""

    def recall(self, label: str, name: str) -> None:
        """Nothing."""

    def keep(self, label: str, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Forget it."""
