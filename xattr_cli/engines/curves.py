"""What is seen along a path: recorders for the first nodes of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerics.paths.field import Evaluation
from ..numerics.paths.quadrature import AdaptiveRule
from ..numerics.paths.straight import PowerWarp, StraightPath

__all__ = ["CurveRecorder", "InputGradientRecorder", "PathCurves"]


@dataclass(frozen=True)
class PathCurves:
    """Scores and gradients along the paths of a block.

    Attributes:
        alpha: (alphas,) float64, from 0 to 1.
        score: (rows, alphas), f(γ(α)).
        gradient_norm: (rows, alphas), ‖∇f(γ(α))‖.
        directional_derivative: (rows, alphas), Δ·∇f(γ(α)) = d f(γ(α)) / dα.
    """

    alpha: Tensor
    score: Tensor
    gradient_norm: Tensor
    directional_derivative: Tensor

    def every(self, stride: int) -> PathCurves:
        """Every `stride`-th point of the curves."""
        return PathCurves(
            self.alpha[::stride],
            self.score[:, ::stride],
            self.gradient_norm[:, ::stride],
            self.directional_derivative[:, ::stride],
        )

    def running_sum(self) -> Tensor:
        """(rows, alphas), ∫₀^α Δ·∇f dα by the trapezoid rule: should follow f(γ(α)) − f(x')."""
        running = torch.cumulative_trapezoid(self.directional_derivative, self.alpha, dim=1)
        return torch.nn.functional.pad(running, (1, 0))


class CurveRecorder:
    """Records score, gradient length and directional derivative at the first nodes of a sweep."""

    needs_baseline = True

    def __init__(self, path: StraightPath, rule: AdaptiveRule) -> None:
        rows, intervals = len(path.input), rule.intervals
        node = torch.arange(intervals + 1, dtype=torch.float64, device=path.input.device)
        self._delta = path.delta

        def unseen() -> Tensor:
            return path.input.new_full((rows, intervals + 1), torch.nan)

        self.curves = PathCurves(PowerWarp(rule.warp).t(node / intervals), unseen(), unseen(), unseen())

    def observe(self, row: Tensor, node: Tensor, evaluation: Evaluation) -> None:
        gradients = evaluation.gradients
        self.curves.score[row, node] = evaluation.values
        self.curves.gradient_norm[row, node] = torch.linalg.vector_norm(gradients, dim=1)
        self.curves.directional_derivative[row, node] = (gradients * self._delta[row]).sum(dim=1)


class InputGradientRecorder:
    """Records score and gradient at the input itself, the last node of every sweep."""

    needs_baseline = False

    def __init__(self, inputs: Tensor, last_node: int) -> None:
        self.values = inputs.new_full((len(inputs),), torch.nan)
        self.gradients = torch.full_like(inputs, torch.nan)
        self._last_node = last_node

    def observe(self, row: Tensor, node: Tensor, evaluation: Evaluation) -> None:
        at_input = node == self._last_node
        self.values[row[at_input]] = evaluation.values[at_input]
        self.gradients[row[at_input]] = evaluation.gradients[at_input]
