"""An open job: its network on the device, its data, and the rows that follow from them, all checked."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .baselines import Baseline, BoundBaseline
from .config import Job
from .datasets import Samples, finite_rows, open_dataset
from .device import (
    Packing,
    Rows,
    Scorer,
    choose_targets,
    find_kinks,
    predictions,
    rows_per_call,
    select_device,
    select_dtype,
)
from .engines.base import LocalEngine
from .engines.block import Block
from .engines.sweeps import PathDemand, SweepKey, merge_demands
from .errors import JobError
from .models import LoadedModel, frozen
from .preflight import (
    check_background,
    check_explained_inputs,
    check_labels,
    check_model,
    check_output,
    check_scores_finite,
    check_targets,
    check_values_finite,
)
from .samples import Batch, Layout

__all__ = ["RowTable", "Session", "open_session"]

PROBE_SAMPLES = 4
PART_BYTES = 32 * 2**20
MOST_PART_ROWS = 512
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
    """An open job; made by `open_session`.

    Attributes:
        job: what was asked for.
        model, samples: as loaded.
        layout: how the explained inputs lie in a row.
        scorer: the frozen network on its device.
        targets: outputs that can be explained.
        planned: the sweeps that the engines share.
        kinks: operations of the network that may have kinks; decides the formula of the error bar.
    """

    job: Job
    model: LoadedModel
    samples: Samples
    layout: Layout
    scorer: Scorer
    targets: int
    planned: Mapping[SweepKey, PathDemand]
    kinks: tuple[str, ...] = ()
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
    def rows(self) -> int:
        """Rows of the whole job."""
        return len(self.samples) * self.rows_per_sample

    @property
    def part_rows(self) -> int:
        """Rows of a part: so many that a map of them takes 32 MiB, and at most 512."""
        asked = self.job.output.part_rows
        if asked != "auto":
            return asked
        return max(1, min(MOST_PART_ROWS, PART_BYTES // (4 * self.layout.size)))

    @property
    def parts(self) -> int:
        """Number of parts that the job is cut into."""
        return -(-self.rows // self.part_rows)

    def part(self, number: int) -> slice:
        """The rows of a part."""
        start = number * self.part_rows
        return slice(start, min(start + self.part_rows, self.rows))

    @property
    def stored_samples(self) -> int:
        """How many of the first samples have their inputs in the file."""
        asked, samples = self.job.output.store_inputs, len(self.samples)
        if asked == "auto":
            size = samples * sum(spec.size * spec.dtype.itemsize for spec in self.layout.specs)
            return samples if size <= STORED_INPUT_BYTES else STORED_SAMPLES
        if asked == "none":
            return 0
        return samples if asked == "all" else asked

    def read_rows(self, rows: slice) -> RowTable:
        """Read the samples of some rows, and find their targets."""
        per_sample = self.rows_per_sample
        first, last = rows.start // per_sample, -(-rows.stop // per_sample)
        batch = self.samples.read(first, last)
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
        )

    def tensors(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Explained inputs (n, D) and context of a batch, on the device."""
        explained = {spec.name for spec in self.layout.specs}
        context = {
            name: self.scorer.tensor(values) for name, values in batch.inputs.items() if name not in explained
        }
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
            with_context = len(self.layout.specs) < len(self.scorer.inputs)
            scores = points.new_full((self.targets,), torch.nan)
            if not with_context:
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


@contextmanager
def open_session(job: Job, *, interrupt: Callable[[], None] = lambda: None) -> Iterator[Session]:
    """Load the model, open the data, and check everything that can be checked on the first samples.

    Arguments:
        job: what to explain.
        interrupt: called before every device call; may raise.

    Raises:
        JobError: the job cannot be run; the message says what to change.
    """
    with ExitStack() as stack:
        check_output(job)
        stack.enter_context(_threads(job.compute.threads))
        device = select_device(job.compute.device)
        samples = open_dataset(job.dataset)
        stack.callback(samples.close)
        layout = check_explained_inputs(job, samples.inputs)
        model = job.model.load()
        dtype = select_dtype(job.compute.precision, model.module)
        module = stack.enter_context(frozen(model.module, device, dtype))
        scorer = Scorer(
            module,
            samples.inputs,
            layout,
            score=job.score,
            device=device,
            dtype=dtype,
            packing=Packing(model.fixed_batch or PROBE_SAMPLES, fixed=model.fixed_batch is not None),
            interrupt=interrupt,
        )
        demands = [engine.path() for engine in job.engines.values()]
        session = Session(job, model, samples, layout, scorer, 0, merge_demands(demands))
        _probe(session)
        yield session


def _probe(session: Session) -> None:
    """Check data, model, targets and baselines on the first samples, and settle the rows per call."""
    job, scorer = session.job, session.scorer
    _check_values(session)
    batch = _probe_batch(session.samples, min(PROBE_SAMPLES, scorer.packing.rows))
    points, context = session.tensors(batch)
    scores = check_model(scorer, points, context)
    session.targets = scores.shape[1]
    if job.dataset.nonfinite == "error":
        check_scores_finite(scores)
    session.kinks = find_kinks(scorer, points, context)
    check_targets(job, session.targets, batch.labels is not None)
    if job.target.select == "label":
        check_labels(session.samples.known_labels(), session.targets)
    if not scorer.packing.fixed:
        asked = job.compute.batch_rows
        scorer.packing.rows = rows_per_call(scorer, points, context) if asked == "auto" else asked
    probe = session.block(session.read_rows(slice(0, min(PROBE_SAMPLES, session.rows))))
    for label, engine in job.engines.items():
        _check_engine(session, label, engine, probe)


def _probe_batch(samples: Samples, count: int) -> Batch:
    """The first `count` samples, but finite ones if there are any among a few more: NaN proves nothing."""
    batch = samples.read(0, min(count, len(samples)))
    if finite_rows(batch).all():
        return batch
    more = samples.read(0, min(16 * PROBE_SAMPLES, len(samples)))
    chosen = np.flatnonzero(finite_rows(more))[:count]
    if not len(chosen):
        return batch
    return Batch(
        index=more.index[chosen],
        inputs={name: values[chosen] for name, values in more.inputs.items()},
        labels=None if more.labels is None else more.labels[chosen],
    )


def _check_engine(session: Session, label: str, engine: LocalEngine, probe: Block) -> None:
    baseline = getattr(engine, "baseline", None)
    try:
        engine.check(probe)
        if isinstance(baseline, Baseline) and session.bound(baseline).background() is not None:
            check_background(session.background(baseline)[0], probe.inputs)
    except JobError as error:
        raise type(error)(f"engines.{label}.{error}") from error


def _check_values(session: Session) -> None:
    """Look for NaN in as many samples as can be read in a moment; the rest is quarantined row by row."""
    samples = session.samples
    bytes_per_sample = sum(spec.size * spec.dtype.itemsize for spec in samples.inputs)
    looked_at = min(len(samples), max(PROBE_SAMPLES, PART_BYTES // bytes_per_sample))
    if session.job.dataset.nonfinite == "error":
        check_values_finite(samples.read(0, looked_at))


@contextmanager
def _threads(threads: Any) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads != "auto":
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _key(baseline: Baseline) -> str:
    return json.dumps(baseline.model_dump(mode="json"), sort_keys=True)
