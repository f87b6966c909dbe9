"""Opening a job: everything is loaded, and checked on the first samples, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..baselines import Baseline
from ..datasets import Samples, finite_rows, open_dataset
from ..device import (
    Packing,
    Scorer,
    bears_shortening,
    find_kinks,
    row_activations,
    rows_per_call,
    select_device,
    select_dtype,
)
from ..device.places import MOST_SHARED
from ..engines.base import LocalEngine, PopulationEngine
from ..engines.block import Block
from ..engines.sweeps import merge_demands
from ..errors import JobError
from ..job.config import Job
from ..models import Repairs, find_repairs, frozen
from ..samples import Batch, Layout
from .layers import find_sites, look_inside
from .memory import WorkingMemory, footprint_of
from .preflight import (
    check_background,
    check_class_count,
    check_class_names,
    check_explained_inputs,
    check_labels,
    check_model,
    check_output,
    check_scores_finite,
    check_targets,
    check_values_finite,
)
from .session import Session

__all__ = ["check_memory", "open_session", "settle_rows"]

PROBE_SAMPLES = 4
PROBE_BYTES = 32 * 2**20


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
        samples = open_dataset(job.dataset.beside(job.model))
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
            sites=find_sites(job.explain, module),
        )
        if scorer.sites:
            samples, inside = look_inside(scorer, samples)
            scorer.layout = layout = Layout((*layout.specs, *inside))
        demands = [engine.path() for engine in job.engines.values() if isinstance(engine, LocalEngine)]
        session = Session(job, model, samples, layout, scorer, 0, merge_demands(demands))
        _probe(session)
        yield session


def _probe(session: Session) -> None:
    """Check data, model, targets and baselines on the first samples, and settle the rows per call."""
    job, scorer = session.job, session.scorer
    _check_values(session)
    batch = _probe_batch(session.samples, min(PROBE_SAMPLES, scorer.packing.rows))
    points, context = session.tensors(batch)
    scorer.repairs = _repairs(session, points, context)
    scores = check_model(scorer, points, context)
    session.targets = scores.shape[1]
    if job.dataset.nonfinite == "error":
        check_scores_finite(scores)
    session.kinks = find_kinks(scorer, points, context)
    check_targets(job, session.targets, batch.labels is not None)
    check_class_names(session.samples.classes, session.model.outputs)
    if job.dataset.class_names:
        check_class_count(session.samples.classes, session.targets)
    if job.target.select == "label":
        check_labels(session.samples.known_labels(), session.targets)
    _check_results(session)
    # measured at full length, before calls are allowed to be shorter
    settle_rows(session, row_activations(scorer, points, context))
    scorer.shortens = _may_shorten(session)
    probe = session.block(session.read_rows(slice(0, min(PROBE_SAMPLES, session.all_rows))))
    for label, engine in job.engines.items():
        with _named(f"engines.{label}."):
            _check_engine(session, label, engine, probe)
    check_memory(session)


def _check_results(session: Session) -> None:
    """Let engines say what is wrong with the results that they would have of these inputs."""
    for label, engine in session.job.engines.items():
        if isinstance(engine, LocalEngine):
            with _named(f"engines.{label}."):
                engine.values_per_row(session.layout.specs)


def _probe_batch(samples: Samples, count: int) -> Batch:
    """The first `count` samples, but finite ones if there are any among a few more: NaN proves nothing."""
    batch = samples.read(0, min(count, len(samples)))
    if finite_rows(batch).all():
        return batch
    more = samples.read(0, min(16 * PROBE_SAMPLES, len(samples)))
    chosen = np.flatnonzero(finite_rows(more))[:count]
    return more.take(chosen) if len(chosen) else batch


def _repairs(session: Session, points: Tensor, context: Mapping[str, Tensor]) -> Repairs:
    """What the network needs so that it can be differentiated as often as the engines ask for."""
    scorer = session.scorer
    rows = scorer.packing.rows if scorer.packing.fixed else len(points)
    filled, filling = scorer.fill(points, context, rows)
    order = 2 if any(engine.second_order for engine in session.job.engines.values()) else 1

    def call(x: Tensor) -> Tensor:
        # copies: a network that writes into its context may not spoil what the checks are made with
        return scorer.outputs(x, {name: tensor.clone() for name, tensor in filling.items()})

    try:
        return find_repairs(scorer.module, call, filled, order)
    except Exception:  # whatever is wrong with the network, the checks that follow say it better
        return Repairs()


def _may_shorten(session: Session) -> bool:
    """Whether the network scores padded samples the same without their padding; tried on those with the most."""
    samples, scorer = session.samples, session.scorer
    batch = samples.plain.read(0, min(16 * PROBE_SAMPLES, len(samples)))
    if not batch.real:
        return False
    padding = np.where(finite_rows(batch), sum(map(_steps_of_padding, batch.real.values())), 0)
    most = np.argsort(-padding, kind="stable")[:PROBE_SAMPLES]
    chosen = [samples.read(row, row + 1) for row in most.tolist() if padding[row]]
    return bool(chosen) and all(bears_shortening(scorer, *session.tensors(sample)) for sample in chosen)


def _steps_of_padding(real: np.ndarray) -> np.ndarray:
    """(n,) steps after the last real one of each sample."""
    steps: np.ndarray = np.argmax(real[:, ::-1], axis=1)
    return steps


def _check_engine(session: Session, label: str, engine: LocalEngine | PopulationEngine, probe: Block) -> None:
    if isinstance(engine, PopulationEngine):
        engine.check(session.population(label))
    else:
        engine.check(probe)
    baseline = getattr(engine, "baseline", None)
    if isinstance(baseline, Baseline) and session.bound(baseline).background() is not None:
        check_background(session.background(baseline)[0], probe.inputs)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Errors inside begin with the key of the job file that they are about."""
    try:
        yield
    except JobError as error:
        raise type(error)(f"{key}{error}") from error


def _check_values(session: Session) -> None:
    """Look for NaN in as many samples as can be read in a moment; the rest is quarantined row by row."""
    samples = session.samples.plain
    bytes_per_sample = sum(spec.size * spec.dtype.itemsize for spec in samples.inputs)
    looked_at = min(len(samples), max(PROBE_SAMPLES, PROBE_BYTES // bytes_per_sample))
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


CUDA_SHARE = 1 / 4
"""Of a card's memory, for rows that are worked on; device calls take another share, see `device.packing`."""


def settle_rows(session: Session, activations: int) -> None:
    """Settle how many rows a device call takes, and how many are worked on at once.

    Arguments:
        session: its `working` and the rows per call of its scorer are set.
        activations: bytes that a row of a device call leaves for its backward pass.
    """
    scorer, compute = session.scorer, session.job.compute
    footprint = footprint_of(
        session.row_engines,
        session.planned.values(),
        session.layout.specs,
        itemsize=scorer.dtype.itemsize,
        activations=activations,
        input_bytes=sum(spec.size * spec.dtype.itemsize for spec in session.samples.inputs),
        part_rows=min(session.part_rows, session.rows),
        targets=min(session.rows_per_sample, MOST_SHARED),
    )
    session.working = WorkingMemory(footprint, _memory_of_rows(session), binding=compute.memory != "auto")
    if scorer.packing.fixed:
        return
    if compute.batch_rows == "auto":
        scorer.packing.rows = session.working.rows_per_call(rows_per_call(scorer, activations))
    else:
        scorer.packing.rows = compute.batch_rows


def check_memory(session: Session) -> None:
    """Refuse an amount of memory that not even a single row fits into.

    Raises:
        JobError: says how much is needed, and what for.
    """
    rows, working = session.scorer.packing.rows, session.working
    needed = working.missing(rows)
    if needed is None or not session.rows:
        return
    share, footprint = _share(session), working.footprint
    part_rows = min(session.part_rows, session.rows)
    twice = " Second derivatives take as much again, which is in these numbers." if share > 1 else ""
    raise JobError(
        f"compute.memory: {_mebibytes(share * working.memory)} is not enough, a single row needs about "
        f"{_mebibytes(share * needed)}: {_mebibytes(share * footprint.part)} for parts of {part_rows} rows "
        f"(output.part_rows), {_mebibytes(share * footprint.call * rows)} for device calls of {rows} "
        f"(compute.batch_rows), and {_mebibytes(share * footprint.row)} for itself (max_nodes).{twice} Raise the "
        "memory, or lower one of these."
    )


def _memory_of_rows(session: Session) -> int:
    """Bytes for parts, calls and rows."""
    memory, device = session.memory_bytes, session.scorer.device
    if session.job.compute.memory == "auto" and device.type == "cuda":
        memory = max(memory, int(torch.cuda.get_device_properties(device).total_memory * CUDA_SHARE))
    return memory // _share(session)


def _share(session: Session) -> int:
    """Engines of second order hold half of the memory beside what is counted here."""
    return 2 if any(engine.second_order for engine in session.row_engines.values()) else 1


def _mebibytes(count: int) -> str:
    return f"{-(-count // 2**20):,d} MiB"
