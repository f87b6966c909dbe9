"""The workbench of second-order engines: a block, its groups, and a network that can be differentiated twice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...device.curvature.network import CurvedNetwork, Smoothing, find_curvature
from ...errors import JobError, ModelError
from ...numerics.interactions.expectation import (
    ExpectationRule,
    InteractionExpectation,
    expected_interactions,
    sampling_bytes,
)
from ...numerics.interactions.fan import Fan
from ...numerics.interactions.grouping import Grouping
from ...numerics.interactions.integrate import (
    InteractionIntegral,
    InteractionRule,
    integrate_interactions,
    level_bytes,
)
from ...numerics.paths.field import Part
from ...numerics.paths.sampling import SamplingRule
from ..sweeps import SweepRequest
from .partition import Partition, PartitionRequest, partition

if TYPE_CHECKING:
    from ..block import Block
    from .smoothing import SmoothingOption

__all__ = ["Ends", "InteractionBench", "InteractionOptions"]

# first-order attributions that only choose the top groups need not be exact
SCREEN_SIZE, SCREEN_DRAWS, SCREEN_RTOL = 64, 256, 0.1


class InteractionOptions(PartitionRequest, Protocol):
    """What second-order engines have in common."""

    @property
    def baseline(self) -> Any:
        """A baseline plugin."""

    @property
    def smoothing(self) -> SmoothingOption:
        """What is done about kinks."""

    def path(self) -> SweepRequest | None:
        """The first-order sweep by which `top` chooses, for engines that follow one path."""


@dataclass(frozen=True)
class Ends:
    """Scores of a block in both networks, with kinks and without.

    Attributes:
        input, baseline: (rows,) of the network that was differentiated; the mean over a background set.
        drift, baseline_drift: (rows,) by how much they differ from those of the network itself.
    """

    input: Tensor
    baseline: Tensor
    drift: Tensor
    baseline_drift: Tensor


class InteractionBench:
    """A block in the eyes of a second-order engine.

    Arguments:
        block: rows.
        options: of the engine.
    """

    def __init__(self, block: Block, options: InteractionOptions) -> None:
        self.block = block
        self.options = options

    @cached_property
    def partition(self) -> Partition:
        """The groups.

        Raises:
            JobError: an option names what there is not, or leaves coordinates out without saying so.
        """
        return partition(self.block, self.options, self._first_order)

    @cached_property
    def curvature(self) -> CurvedNetwork:
        """The network as it is differentiated twice.

        Raises:
            ModelError: it has kinks that cannot be smoothed, or no second derivatives.
        """
        wanted = self.options.smoothing
        beta = wanted.beta if wanted.mode == "smooth" else None
        smoothing = Smoothing(beta, wanted.mode == "refuse", wanted.allow)
        try:
            return find_curvature(self.block.scorer, self.block.rows, smoothing, len(self.groups.chosen))
        except ModelError as error:
            raise ModelError(f"smoothing: {error}") from error

    @property
    def groups(self) -> Grouping:
        """The groups, as the numerics take them."""
        return self.partition.grouping

    def group_curves(self) -> dict[str, Tensor]:
        """What a row's own groups are, where they differ from row to row: name → (rows, ...)."""
        curves = {"top": self.partition.top, "segments": self.partition.segments}
        return {name: values for name, values in curves.items() if values is not None}

    def drift_curves(self, ends: Ends) -> dict[str, Tensor]:
        """(rows,) by how much smoothing has changed the scores; nothing if there was none."""
        if not self.curvature.is_smoothed:
            return {}
        return {"smoothing_drift": ends.drift, "smoothing_drift_baseline": ends.baseline_drift}

    def check_integration(self, max_nodes: int, paths: int = 1) -> CurvedNetwork:
        """The network, ready; refuses early what cannot be integrated along so many paths at once.

        Raises:
            JobError: a row does not fit into memory, or the options do not fit the network and its inputs.
        """
        return self._check(level_bytes(self.groups, self.block.inputs, max_nodes, paths))

    def check_sampling(self) -> CurvedNetwork:
        """The network, ready; refuses early what cannot be sampled, as `check_integration` does."""
        return self._check(sampling_bytes(self.groups, self.block.inputs))

    def integrated(self, rtol: float, max_nodes: int) -> InteractionIntegral:
        """What integration along the paths from the rows' own baselines finds."""
        return self._integrated(Fan(self.block.inputs, self._reference, is_shared=False), rtol, max_nodes)

    def averaged(self, rtol: float, max_nodes: int) -> InteractionIntegral:
        """What integration along the paths from all of the background set finds, of their mean."""
        background = self.block.background(self.options.baseline)
        return self._integrated(Fan(self.block.inputs, background, is_shared=True), rtol, max_nodes)

    def sampled(self, sampling: SamplingRule, positions: int) -> InteractionExpectation:
        """What sampling from the background set finds."""
        rows, background = self.block.rows, self.block.background(self.options.baseline)
        field, rule = self.curvature.field(rows), ExpectationRule(sampling, positions, self.block.memory_bytes)
        return expected_interactions(field, rows.inputs, background, rows.sample, self.groups, rule)

    def ends(self) -> Ends:
        """Scores of inputs and of their own baselines."""
        baseline = _each(self._reference)
        return self._ends(
            self.curvature.field(self.block.rows).values(baseline), self.block.field.values(baseline)
        )

    def ends_of_background(self) -> Ends:
        """Scores of inputs, and mean scores of the background set for each row's own target."""
        block = self.block
        original = block.background_scores(self.options.baseline)
        if not self.curvature.is_smoothed:
            return self._ends(original, original)
        fan = Fan(block.inputs, block.background(self.options.baseline), is_shared=True)
        return self._ends(fan.scores(self.curvature.field(block.rows), 0.0), original)

    @property
    def _reference(self) -> Tensor:
        return self.block.reference(self.options.baseline)

    def _integrated(self, fan: Fan, rtol: float, max_nodes: int) -> InteractionIntegral:
        rule = InteractionRule(rtol, max_nodes, self.block.memory_bytes)
        return integrate_interactions(self.curvature.field(self.block.rows), fan, self.groups, rule)

    def constants(self) -> dict[str, np.ndarray | tuple[str, ...]]:
        """What is the same for all rows: names of the groups, their members, what was done to the network."""
        partition, curvature = self.partition, self.curvature
        constants: dict[str, np.ndarray | tuple[str, ...]] = {"groups": partition.names}
        if partition.rows:
            constants["row_groups"] = partition.rows
        if self.groups.index.ndim == 1:
            constants["group_of"] = self.groups.index.cpu().numpy()
        texts = {"replaced": curvature.replaced, "repaired": curvature.repaired}
        return {**constants, **{name: text for name, text in texts.items() if text}}

    def _ends(self, baseline: Tensor, original_baseline: Tensor) -> Ends:
        input = self.curvature.field(self.block.rows).values(_each(self.block.inputs))
        return Ends(input, baseline, input - self.block.input_scores(), baseline - original_baseline)

    def _first_order(self) -> Tensor:
        """(rows, D) attributions of the network itself."""
        demand = self.options.path()
        if demand is not None:
            sweep = self.block.path(demand)
            return sweep.path.delta * sweep.integral.mean_gradient
        rule = SamplingRule(SCREEN_RTOL, SCREEN_DRAWS, SCREEN_SIZE, SCREEN_DRAWS // SCREEN_SIZE, self.block.seed)
        return self.block.expectation(self.options.baseline, rule).attribution

    def _check(self, row_bytes: int) -> CurvedNetwork:
        allowed = self.block.memory_bytes
        if row_bytes > allowed:
            rows, columns = len(self.groups.chosen), self.groups.count
            raise JobError(
                f"groups: a matrix of {rows:,} × {columns:,} takes {row_bytes / 2**20:,.0f} MiB while it is "
                f"computed, but compute.memory is {allowed / 2**20:,.0f} MiB. Take features together (groups: "
                "tokens, channels, {patches: 16}), look at some of them (features, top, row), or raise it."
            )
        return self.curvature


@dataclass(frozen=True)
class _Given:
    """Points that are there already, one per row."""

    points: Tensor
    row: Tensor

    def take(self, part: Part) -> Tensor:
        return self.points[part]

    def delta(self, part: slice) -> Tensor:
        return torch.zeros_like(self.points[part])


def _each(points: Tensor) -> _Given:
    return _Given(points, torch.arange(len(points), device=points.device))
