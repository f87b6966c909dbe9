"""Opening a job: everything is loaded, and checked on the first samples, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..baselines import Baseline
from ..datasets import Samples, open_dataset
from ..device import Packing, Scorer, freed_memory_kept, select_device, select_dtype, stored_dtype
from ..engines.alternatives import alternatives, path_requests
from ..engines.base import LocalEngine, PopulationEngine
from ..engines.block import Block
from ..engines.folds import check_folds
from ..engines.sweeps import merge_demands
from ..errors import DataError, JobError, ModelError, XattrError, one_line, reported
from ..job.config import Job
from ..models import LoadedModel, frozen
from .baselines import BaselineCache
from .checks.consistency import check_autograd
from .checks.outputs import PROBE_SAMPLES, settle_outputs
from .checks.precision import precision_notes
from .checks.preflight import check_background, check_explained_inputs, check_output
from .checks.probe import Probe, check_values, probe_network
from .checks.stability import check_stability
from .layers import find_sites, look_inside
from .memory import check_memory, settle
from .parts import plan_parts
from .session import Session

__all__ = ["open_session"]


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
        check_stability(job)
        stack.enter_context(_threads(job.compute.threads))
        device = select_device(job.compute.device)
        stack.enter_context(freed_memory_kept() if device.type == "cpu" else nullcontext())
        with reported(f"dataset kind {job.dataset.registered_name!r} cannot be opened", DataError):
            samples = open_dataset(job.dataset.beside(job.model))
        stack.callback(samples.close)
        layout = check_explained_inputs(job, samples.inputs)
        with reported(f"model kind {job.model.registered_name!r} cannot be loaded", ModelError):
            model = job.model.beside(job.dataset).load()
        dtype = select_dtype(job.compute.precision, model.module)
        stored = job.compute.precision == "as_stored"
        module, *folds = (
            stack.enter_context(frozen(one, device, None if stored else dtype))
            for one in (model.module, *model.folds)
        )
        check_folds(job, folds)
        with reported(f"dataset kind {job.dataset.registered_name!r} cannot be completed", DataError):
            samples = samples.completed(module)
        scorer = Scorer(
            module=module,
            inputs=samples.inputs,
            layout=layout,
            score=job.score,
            device=device,
            dtype=dtype,
            packing=Packing(model.fixed_batch or PROBE_SAMPLES, fixed=model.fixed_batch is not None),
            interrupt=interrupt,
            sites=find_sites(job.explain, module),
            constants=job.model.call,
            feed=stored_dtype(module) if stored else None,
            folds=tuple(folds),
            withheld=frozenset(spec.name for spec in samples.inputs if not spec.argument),
        )
        check_values(job, samples)
        scorer, notes = settle_outputs(job, model, samples, scorer)
        scorer, samples = look_inside(scorer, samples)
        session = _session(job, model, samples, scorer, probe_network(job, model, samples, scorer, notes))
        session = _check_engines(session)
        check_memory(job, session.settings, session.parts)
        yield session


def _session(job: Job, model: LoadedModel, samples: Samples, scorer: Scorer, probe: Probe) -> Session:
    """All that is known, put together."""
    sweeps = merge_demands(path_requests(job.engines.values()))
    _check_results(job, scorer)
    parts = plan_parts(job, len(samples), probe.targets.per_sample(job), scorer.layout.specs, probe.targets.counts)
    repaired = replace(scorer, repairs=probe.repairs, shortens=probe.shortens)
    settings = settle(job, repaired, parts, sweeps.values(), samples.inputs, probe.activations)
    settled = settings.applied_to(repaired)
    return Session(
        job=job,
        model=model,
        samples=samples,
        scorer=settled,
        probe=probe,
        settings=settings,
        parts=parts,
        sweeps=sweeps,
        baselines=_baselines(job, samples, settled, probe.targets.count),
    )


def _baselines(job: Job, samples: Samples, scorer: Scorer, targets: int) -> BaselineCache[Tensor]:
    def mean_scores(points: Tensor) -> Tensor:
        """(targets,) of a background (m, D); NaN if the model takes context, which differs from row to row."""
        if scorer.has_context:
            return points.new_full((targets,), torch.nan)
        return scorer.scores(points, {}).double().mean(dim=0).to(points.dtype)

    names = [spec.name for spec in scorer.layout.specs]
    return BaselineCache(samples, job.compute.seed, names, place=scorer.flat, score=mean_scores)


def _check_results(job: Job, scorer: Scorer) -> None:
    """Let engines say what is wrong with the results that they would have of these inputs."""
    for label, engine in job.engines.items():
        if isinstance(engine, LocalEngine):
            with _named(f"engines.{label}."):
                engine.values_per_row(scorer.layout.specs)


def _check_engines(session: Session) -> Session:
    """Let every engine look at the first rows; the session knows then whether gradients are derivatives there."""
    block = session.block(session.read_rows(slice(0, min(PROBE_SAMPLES, session.all_rows))))
    for label, engine in session.job.engines.items():
        with _named(f"engines.{label}."):
            _check_engine(session, label, engine, block)
    notes = precision_notes(session.scorer, block.rows)
    probe = replace(session.probe, notes=(*session.probe.notes, *notes))
    return replace(session, probe=probe, contradictions=check_autograd(session, block))


def _check_engine(session: Session, label: str, engine: LocalEngine | PopulationEngine, block: Block) -> None:
    if isinstance(engine, PopulationEngine):
        engine.check(session.population(label))
        return
    for one in alternatives(engine):
        one.check(block)
        _check_shared(session, getattr(one, "baseline", None), block)


def _check_shared(session: Session, baseline: Any, block: Block) -> None:
    if isinstance(baseline, Baseline) and session.baselines.bound(baseline).background() is not None:
        check_background(session.baselines.background(baseline)[0], block.inputs)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Errors inside begin with the key of the job file that they are about."""
    try:
        yield
    except JobError as error:
        raise type(error)(f"{key}{error}") from error
    except XattrError:
        raise
    except Exception as error:  # an engine of a plugin, or an option that its schema does not bound
        raise JobError(f"{key.rstrip('.')}: cannot be used here: {one_line(error)}.") from error


@contextmanager
def _threads(threads: Any) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads != "auto":
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
