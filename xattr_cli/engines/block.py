"""The workbench of an engine: a block of rows, and everything that can be evaluated about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..device import BlockField, Rows, Scorer
from ..device.secant import SecantField, SecantProbe, probe_secants
from ..errors import DataError
from ..numerics.backgrounds.expectation import PathExpectation, expected_path_gradient
from ..numerics.backgrounds.gradients import gradient_over_background
from ..numerics.backgrounds.rule import BackgroundRule
from ..numerics.cells.calibration import Calibration
from ..numerics.cells.secants import CellMaps, SecantCells, SecantRule, cell_maps
from ..numerics.paths.field import Part
from ..numerics.paths.integrate import Observer, Trapezoids, integrate_fixed
from ..numerics.paths.quadrature import AdaptiveRule, fixed_rule
from ..numerics.paths.sampling import SamplingRule
from ..numerics.paths.straight import StraightPath
from ..numerics.paths.sweep import sweep
from ..randomness import Purpose, sample_generator
from .curves import CurveRecorder, InputGradientRecorder
from .sweeps import Sweep, SweepKey, SweepRequest, sweep_key

__all__ = ["Baselines", "Block"]


class Baselines(Protocol):
    """Where a block gets the baselines of its rows from."""

    def reference(self, baseline: object, sample: Tensor) -> Tensor:
        """(rows, D): the baseline of each row's sample."""

    def background(self, baseline: object) -> Tensor:
        """(m, D): the set of baselines that a kind stands for."""

    def background_scores(self, baseline: object) -> Tensor:
        """(targets,): mean score of the background set, for every target."""


class Block:
    """A block of rows, and everything that can be evaluated about them; sweeps are made once and shared.

    Attributes:
        rows: inputs, context, targets and sample indices.
        scorer: the network on its device.
        seed: of the job.
        smooth: the network is known to have no kinks.
        cells: the sweeps that are made of secant cells, with what the job's rows have told about them.
        consistent: its gradients are not known to be others than those of its score.
        memory_bytes: what an engine may hold at once, beside network and rows.
        nodes: (rows, panels) int64, cells that sweeps of gradients have taken, or are to take.
    """

    def __init__(
        self,
        rows: Rows,
        scorer: Scorer,
        baselines: Baselines,
        *,
        planned: Mapping[SweepKey, SweepRequest],
        seed: int,
        smooth: bool,
        cells: Mapping[SweepKey, Calibration] | None = None,
        consistent: bool = True,
        memory_bytes: int = 2**30,
        nodes: Mapping[SweepKey, Tensor] | None = None,
    ) -> None:
        self.rows = rows
        self.scorer = scorer
        self.seed = seed
        self.smooth = smooth
        self.cells = cells or {}
        self.consistent = consistent
        self.memory_bytes = memory_bytes
        self.nodes = dict(nodes or {})
        self._baselines = baselines
        self._planned = planned
        self._sweeps: dict[SweepKey, Sweep] = {}
        self._input_gradient: tuple[Tensor, Tensor] | None = None

    def again(
        self,
        scorer: Scorer,
        part: Tensor,
        inputs: Tensor | None = None,
        target: Tensor | None = None,
        *,
        same_nodes: bool = False,
    ) -> Block:
        """Some of the rows once more, through another network, from other inputs or for other outputs.

        Baselines stay.

        Arguments:
            scorer: the network.
            part: (k,) int64, which rows.
            inputs: (k, D); None for their own.
            target: (k,) int64; None for their own.
            same_nodes: gradients are summed at the nodes of this block's sweeps, where that serves: two maps that
                are nearly the same then differ by what has changed, not by where they were looked at.
        """
        rows = self.rows.take(part)
        rows = rows if inputs is None else replace(rows, inputs=inputs)
        return Block(
            rows if target is None else replace(rows, target=target),
            scorer,
            _BaselinesOfPart(self._baselines, part),
            planned=self._planned,
            seed=self.seed,
            smooth=self.smooth,
            cells=self.cells,
            consistent=self.consistent,
            memory_bytes=self.memory_bytes,
            nodes={key: cells[part] for key, cells in self.nodes.items()} if same_nodes else None,
        )

    @property
    def inputs(self) -> Tensor:
        """x, (rows, D)."""
        return self.rows.inputs

    @cached_property
    def field(self) -> BlockField:
        """Scores and gradients at any points."""
        return self.scorer.field(self.rows)

    @cached_property
    def secants(self) -> SecantField:
        """The cells of paths, with secants in place of derivatives."""
        return SecantField(self.scorer, self.rows)

    def probe_secants(self, baseline: object) -> SecantProbe:
        """Whether secants serve the network, tried on the paths of this block."""
        return probe_secants(self.scorer, self.rows, self.reference(baseline))

    def cell_maps(self, baseline: object, cells: int, warp: float) -> CellMaps:
        """The maps of a given number of secant cells for every row, and what the cells tell about their error."""
        return cell_maps(self.secants, self._path(self.reference(baseline)), cells, warp)

    def reference(self, baseline: object) -> Tensor:
        """x', (rows, D), of a baseline plugin."""
        return self._baselines.reference(baseline, self.rows.sample)

    def background(self, baseline: object) -> Tensor:
        """The set of baselines (m, D) of a baseline plugin."""
        return self._baselines.background(baseline)

    def check_baseline(self, baseline: object) -> None:
        """Refuse a baseline that equals every input of this block: its maps would be zero everywhere.

        Raises:
            DataError: it does.
        """
        if torch.equal(self.inputs, self.reference(baseline)):
            raise DataError(
                f"baseline: equals the input in all of the first {len(self.rows)} rows, so every map would "
                "be zero. Choose another baseline, such as {kind: zero} or {kind: mean}."
            )

    def generator(self, row: int, stream: int = 0) -> np.random.Generator:
        """Random numbers that belong to a row's sample, whatever block the row is in."""
        return sample_generator(self.seed, int(self.rows.sample[row]), Purpose.PLUGIN, stream)

    def gradients(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (rows, k) and gradients (rows, k, D) at k points (rows, k, D) for every row."""
        rows, count, dim = points.shape
        flat = _GivenPoints(points.reshape(rows * count, dim), _each(rows, count, points.device))
        values, gradients = points.new_empty(rows * count), points.new_empty(rows * count, dim)
        for found in self.field.gradients(flat):
            values[found.part], gradients[found.part] = found.values, found.gradients
        return values.view(rows, count), gradients.view(rows, count, dim)

    def input_gradient(self) -> tuple[Tensor, Tensor]:
        """Scores (rows,) and gradients (rows, D) at the inputs; from a sweep if the job has one."""
        for demand in self._planned.values():
            by_cells = self._by_cells(sweep_key(demand), demand) is not None
            if self._input_gradient is None and isinstance(demand.rule, AdaptiveRule) and not by_cells:
                self.path(demand)
        if self._input_gradient is None:
            values, gradients = self.gradients(self.inputs[:, None])
            self._input_gradient = values[:, 0], gradients[:, 0]
        return self._input_gradient

    def input_scores(self) -> Tensor:
        """f(x), (rows,)."""
        if self._input_gradient is not None:
            return self._input_gradient[0]
        return self.field.values(_GivenPoints(self.inputs, _each(len(self.rows), 1, self.inputs.device)))

    def path(self, demand: SweepRequest) -> Sweep:
        """The sweep that serves `demand`, made now if no other engine has asked for it before."""
        key = sweep_key(demand)
        planned = self._planned.get(key, demand)
        if key not in self._sweeps:
            path = self._path(self.reference(planned.baseline))
            cells = self._by_cells(key, planned)
            if not isinstance(planned.rule, AdaptiveRule):
                fixed = fixed_rule(planned.rule.name, planned.rule.nodes)
                self._sweeps[key] = Sweep(path, integrate_fixed(self.field, path, fixed), (1.0,), None)
            elif cells is not None:
                secants = self._secant_cells(path, planned.rule, cells)
                self._sweeps[key] = Sweep(path, sweep(secants, path), (1.0,), None)
            else:
                curves = CurveRecorder(path, planned.rule) if planned.curves else None
                trapezoids, gradient = self._trapezoids(
                    path, planned.rule, planned.marks, curves, self.nodes.get(key)
                )
                integral = sweep(trapezoids, path)
                self.nodes[key] = trapezoids.taken
                self._input_gradient = gradient.values, gradient.gradients
                values = None if curves is None else curves.curves
                self._sweeps[key] = Sweep(path, integral, (*planned.marks, 1.0), values)
        return self._sweeps[key].seen_by(demand, planned)

    def _path(self, reference: Tensor) -> StraightPath:
        """From the baselines (rows, D) to the inputs."""
        sample = self.rows.sample.to(self.inputs.device)
        # what goes with an input, such as its length, goes with its baseline too
        one = not self.rows.context and bool((reference == reference[:1]).all())
        return StraightPath(reference, self.inputs, sample, torch.zeros_like(sample) if one else sample)

    def _by_cells(self, key: SweepKey, demand: SweepRequest) -> Calibration | None:
        """What is known of the cells that a sweep is made of; None if it is made of gradients."""
        if not demand.may_be_secant:
            return None
        return self.cells.get(key, Calibration() if demand.by == "secant" else None)

    def _secant_cells(self, path: StraightPath, rule: AdaptiveRule, cells: Calibration) -> SecantCells:
        secant = SecantRule(rule.rtol, rule.max_nodes, cells.cells, rule.warp, cells.share)
        return SecantCells(replace(self.secants, watching=cells.watching), path, secant)

    def _trapezoids(
        self,
        path: StraightPath,
        rule: AdaptiveRule,
        marks: tuple[float, ...],
        curves: CurveRecorder | None,
        nodes: Tensor | None,
    ) -> tuple[Trapezoids, InputGradientRecorder]:
        """The rule of gradients, and what sees the gradients at the inputs among them."""
        gradient = InputGradientRecorder(path.input, last_node=rule.intervals)
        observers: list[Observer] = [gradient, *([] if curves is None else [curves])]
        trapezoids = Trapezoids(
            self.field,
            path,
            rule,
            smooth=self.smooth,
            consistent=self.consistent,
            marks=marks,
            observers=observers,
            cells=nodes,
        )
        return trapezoids, gradient

    def expectation(self, baseline: object, rule: SamplingRule) -> PathExpectation:
        """Expected path gradient over the background set of a baseline plugin."""
        background = self.background(baseline)
        return expected_path_gradient(self.field, self.inputs, background, self.rows.sample, rule)

    def expectation_over(self, baseline: object, rule: BackgroundRule) -> PathExpectation:
        """The same over all of the background set, of few enough baselines."""
        return gradient_over_background(
            self.field,
            self.inputs,
            self.background(baseline),
            self.rows.sample,
            self.rows.target,
            rule,
            alike_in_context=not self.rows.context,
        )

    def background_scores(self, baseline: object) -> Tensor:
        """(rows,) mean of f over the background set, for each row's own target."""
        if self.rows.context:
            return self._background_scores_in_context(baseline)
        return self._baselines.background_scores(baseline)[self.rows.target]

    def _background_scores_in_context(self, baseline: object) -> Tensor:
        background = self.background(baseline)
        every = torch.zeros(len(background), dtype=torch.int64, device=background.device)
        # row by row: all rows together would hold rows × background × D numbers
        means = [self.field.values(_GivenPoints(background, every + r)).mean() for r in range(len(self.rows))]
        return torch.stack(means)


@dataclass(frozen=True)
class _BaselinesOfPart:
    """Baselines of some rows of a block."""

    whole: Baselines
    part: Tensor

    def reference(self, baseline: object, sample: Tensor) -> Tensor:
        return self.whole.reference(baseline, sample)[self.part]

    def background(self, baseline: object) -> Tensor:
        return self.whole.background(baseline)

    def background_scores(self, baseline: object) -> Tensor:
        return self.whole.background_scores(baseline)


@dataclass(frozen=True)
class _GivenPoints:
    points: Tensor
    row: Tensor
    place: Tensor | None = None

    def take(self, part: Part) -> Tensor:
        return self.points[part]


def _each(rows: int, times: int, device: torch.device) -> Tensor:
    return torch.arange(rows, device=device).repeat_interleave(times)
