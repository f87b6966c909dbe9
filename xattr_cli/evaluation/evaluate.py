"""Evaluating a file: every candidate, by every metric, on the same rows and with the same random numbers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path

import numpy as np
import torch

from ..device.perturbation import top_layers
from ..engines.base import LocalEngine
from ..errors import DataError, JobError
from ..job.config import Job
from ..metrics import CONTROL, Setting
from ..numerics.faithfulness.units import Units, units_of
from ..store.results.reader import Results
from .again import ExplainedAgain
from .bench import Workbench
from .candidates import Candidate, LocalMap, choose_candidates
from .inquiry import EvaluationOptions, asked_metrics
from .masks import Masks, read_masks
from .meter import Meter
from .outcome import EvaluationOutcome
from .remaking import Remaking
from .rows import EvaluatedBlock, Reader
from .sources import named_code, open_sources, own_job, stored_job

__all__ = ["evaluate_file"]

SCORE_TOLERANCE = 1e-3
"""Relative change of a score that other hardware or another version of torch may cause."""


def evaluate_file(
    path: str | Path,
    inquiry: EvaluationOptions,
    job: Job | None = None,
    *,
    trust: bool = False,
    overrides: Sequence[str] = (),
    folder: Path | None = None,
    tell: Callable[[str], None] = lambda text: None,
    foretell: Callable[[str], None] = lambda text: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> EvaluationOutcome:
    """How faithful the maps and importances of a result file are.

    Arguments:
        path: of a finished result file.
        inquiry: metrics, engines, perturbation.
        job: that it was computed by. A result is data: what it names is not imported for its own sake.
        trust: without `job`: open the job that the file stores, and import and run what that names.
        overrides: `dotted.key=value` texts that override the job that the file stores.
        folder: where relative paths of the overrides start, and modules of the stored job are looked for; None
            for the current folder.
        tell: with `trust`, told what will be imported, before it is.
        foretell: told what maps that are made again will take, before that begins.
        progress: told the rows done and the rows to do.

    Raises:
        StoreError: no such file, or a damaged one.
        JobError: neither `job` nor `trust`, or another job; nothing in the file ranks features; model or data
            cannot be opened, or are other ones now.
    """
    with ExitStack() as stack:
        results = stack.enter_context(Results.open(path))
        again = _explained_again(results, inquiry)
        if job is not None:
            job = own_job(results, job, changed=inquiry.changed, engines=again)
        else:
            listed = "".join(f"\n  {line}" for line in named_code(results))
            if not trust:
                raise JobError(
                    f"{path}: opening the job in it would import and run what it names:{listed}\nGive the job "
                    "that it was computed by, --job JOB, or --trust if you trust whoever made the file."
                )
            tell(f"{path} is trusted; it names:{listed}")
            job = stored_job(results, overrides, folder or Path.cwd(), again)
        session = stack.enter_context(open_sources(results, job, changed=inquiry.changed))
        units = units_of(session.layout.specs, inquiry.unit)
        candidates = choose_candidates(results, inquiry, session.layout, units)
        survey = _Survey.of(Reader(results, session, inquiry), candidates, units)
        if survey.remaking.maps:
            foretell(str(survey.remaking))
        survey.run(progress)
        return survey.evaluation()


def _explained_again(results: Results, inquiry: EvaluationOptions) -> list[str]:
    """Labels of the engines that are to make maps again; none if no metric asks for that."""
    if not any(metric.explains_again for metric in asked_metrics(inquiry)):
        return []
    return [label for label, engine in results.engines.items()
            if engine.tensors and (inquiry.engines is None or label in inquiry.engines)]  # fmt: skip


@dataclass
class _Survey:
    """An evaluation under way."""

    reader: Reader
    found: Sequence[Candidate]
    meters: Sequence[Meter]
    units: Units
    masks: Masks | None
    blocks: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    draws: int = 1
    evaluations: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, reader: Reader, candidates: Sequence[Candidate], units: Units) -> _Survey:
        """The metrics that are asked for, fitted to these inputs.

        Raises:
            JobError: one that says nothing about them.
        """
        session, inquiry = reader.session, reader.inquiry
        specs = session.layout.specs
        metrics = asked_metrics(inquiry)
        masks = None
        if inquiry.masks is not None:
            masks = read_masks(inquiry.masks, inquiry.folder, session.samples, specs, units)
        explainable = tuple(one.name for one in candidates if one.name in session.job.engines)
        setting = Setting(units, specs, session.probe.targets.count, masks is not None, explainable)
        fitted = {metric.model_dump_json(): metric for metric in (each.fitted(setting) for each in metrics)}
        return cls(reader, candidates, [Meter(metric) for metric in fitted.values()], units, masks)

    @cached_property
    def remaking(self) -> Remaking:
        """What the maps that are made again will take."""
        layers = len(top_layers(self.reader.session.scorer.module))
        return Remaking.of([meter.metric for meter in self.meters], self._engines, layers, self.reader.positions())

    def run(self, progress: Callable[[int, int], None]) -> None:
        """Take every block of rows; one whose maps are made again counts as done as far as they are."""
        began = time.perf_counter()
        total, done = len(self.reader.positions()), 0
        progress(done, total)
        for block in self.reader.blocks():
            heard = count(1)

            def told(before: int = done, rows: int = len(block.positions), heard: Iterator[int] = heard) -> None:
                progress(before + int(rows * self.remaking.share_of(next(heard))), total)

            self._take(block, told)
            done += len(block.positions)
            progress(done, total)
        self.seconds = time.perf_counter() - began

    def _take(self, block: EvaluatedBlock, told: Callable[[], None]) -> None:
        session = self.reader.session
        bench = Workbench(block, session, self.units, tuple(self.found), self._again(block, told), self.masks)
        if not self.blocks and self._replaces:
            self._check_replacement(block)
        self._check_scores(bench)
        for meter in self.meters:
            meter.take(bench)
        self.blocks.append((block.samples, block.targets))
        self.draws = block.replacement.draws
        self.evaluations += bench.evaluations + bench.again.evaluations

    @property
    def _replaces(self) -> bool:
        return any(meter.metric.replaces for meter in self.meters)

    @property
    def _engines(self) -> dict[str, LocalMap]:
        """Label -> maps of the engines that explain rows by themselves."""
        engines = self.reader.session.job.engines
        return {
            one.name: one
            for one in self.found
            if isinstance(engines.get(one.name), LocalEngine) and isinstance(one, LocalMap)
        }

    def _again(self, block: EvaluatedBlock, told: Callable[[], None]) -> ExplainedAgain:
        session = self.reader.session
        engines = {label: session.job.engines[label] for label in self._engines}
        together = session.settings.working.rows_at_once(session.scorer.packing.rows)
        return ExplainedAgain(engines, block.workbench, self.units, block.samples, together, told)

    def _check_replacement(self, block: EvaluatedBlock) -> None:
        """Refuse a replacement that equals the inputs: nothing would ever change."""
        turns = block.replacement
        same = (turns.table[turns.index[:, draw]] for draw in range(turns.draws))
        if all(torch.equal(one, block.rows.inputs) for one in same):
            raise DataError(
                f"--perturbation {self.reader.inquiry.perturbation.registered_name}: equals the inputs in all of "
                f"the first {len(block.rows)} rows, so replacing features changes nothing. Choose another one, "
                "such as mean or samples."
            )

    def _check_scores(self, bench: Workbench) -> None:
        """Refuse a network that gives other scores than in the file: its code or its inputs have changed."""
        results, job = self.reader.results, self.reader.session.job
        if self.reader.inquiry.changed or job.model_dump(mode="json")["score"] != results.job.get("score"):
            return
        positions = bench.block.positions
        for one in self.found:
            if not isinstance(one, LocalMap):
                continue
            then, now = one.engine.score_input[positions], bench.score_input
            wrong = np.abs(now - then) > SCORE_TOLERANCE * (1 + np.abs(then))
            if wrong.any():
                row = int(np.argmax(wrong))
                raise JobError(
                    f"{results.path}: has the score {then[row]:.6g} for row {results.rows.id[positions[row]]}, "
                    f"but the network now gives {now[row]:.6g}: its code or that of the dataset has changed. "
                    "Run the job again, or give --changed to evaluate the maps all the same."
                )

    def evaluation(self) -> EvaluationOutcome:
        """What was found."""
        session, inquiry = self.reader.session, self.reader.inquiry
        rows, positions = self.reader.results.rows, self.reader.positions()
        return EvaluationOutcome(
            file=str(self.reader.results.path),
            score=str(session.job.score),
            perturbation=inquiry.perturbation.model_dump(mode="json") if self._replaces else {},
            draws=self.draws,
            unit=self.units.kind,
            units=self.units.count,
            seed=session.job.compute.seed,
            rows=rows.id[positions] if len(rows) else positions,
            samples=np.concatenate([samples for samples, _ in self.blocks]),
            targets=np.concatenate([targets for _, targets in self.blocks]),
            scopes={**{one.name: one.scope for one in self.found}, CONTROL: "control"},
            measurements=tuple(meter.result() for meter in self.meters),
            evaluations=self.evaluations,
            seconds=self.seconds,
        )
