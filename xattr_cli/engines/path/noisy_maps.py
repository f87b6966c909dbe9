"""Maps at noisy copies of the inputs, and what is taken over them with its standard error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...numerics.student import NORMAL_95, student_factor
from ..block import Block

__all__ = ["NoisyMaps", "OverDraws"]

DRAWS_AT_ONCE = 16


@dataclass(frozen=True)
class OverDraws:
    """What is taken over the draws.

    Attributes:
        values, standard_error: (rows, D).
        relative_error: (rows,) float64, of the L2 norm of the values, at the 95th percentile.
    """

    values: Tensor
    standard_error: Tensor
    relative_error: Tensor


@dataclass(frozen=True)
class NoisyMaps:
    """Maps of x + ε.

    Attributes:
        block: rows.
        of: gradient, input_x_gradient or integrated_gradients.
        sigma: of the noise; a share of each sample's range if `relative`.
        baseline, nodes: of integrated gradients.
    """

    block: Block
    of: str
    sigma: float
    relative: bool
    baseline: object
    nodes: int

    def over_draws(self, draws: int, over: str) -> OverDraws:
        """The mean, mean square or variance of the maps.

        Arguments:
            draws: noisy inputs per row.
            over: mean, square or variance.
        """
        total = torch.zeros_like(self.block.inputs, dtype=torch.float64)
        squares, fourth = torch.zeros_like(total), torch.zeros_like(total)
        for start in range(0, draws, DRAWS_AT_ONCE):
            maps = self._maps(self._noisy(start, min(DRAWS_AT_ONCE, draws - start))).double()
            total += maps.sum(dim=1)
            squares += maps.square().sum(dim=1)
            fourth += maps.pow(4).sum(dim=1)
        mean, second = total / draws, squares / draws
        variance = (second - mean.square()).clamp(min=0) * draws / (draws - 1)
        found, error = {
            "mean": (mean, (variance / draws).sqrt()),
            "square": (second, ((fourth / draws - second.square()).clamp(min=0) / (draws - 1)).sqrt()),
            "variance": (variance, variance * (2 / (draws - 1)) ** 0.5),
        }[over]
        size, apart = (torch.linalg.vector_norm(values, dim=1) for values in (found, error))
        apart = NORMAL_95 * student_factor(draws - 1) * apart
        dtype = self.block.inputs.dtype
        return OverDraws(found.to(dtype), error.to(dtype), torch.where(apart > 0, apart / size, 0.0))

    def _noisy(self, start: int, count: int) -> Tensor:
        """(rows, count, D) noisy inputs, from the draw `start` on: a stream of random numbers for each draw."""
        x = self.block.inputs
        scale = x.new_full((len(x), 1, 1), self.sigma)
        if self.relative:
            scale = scale * (x.amax(dim=1) - x.amin(dim=1))[:, None, None]
        noise = np.empty((len(x), count, x.shape[1]))
        for row, draw in np.ndindex(len(x), count):
            noise[row, draw] = self.block.generator(row, start + draw).standard_normal(x.shape[1])
        return x[:, None] + scale * x.new_tensor(noise)

    def _maps(self, points: Tensor) -> Tensor:
        """(rows, count, D) maps at noisy inputs."""
        if self.of != "integrated_gradients":
            gradients = self.block.gradients(points)[1]
            return gradients if self.of == "gradient" else points * gradients
        reference = self.block.reference(self.baseline)[:, None]
        delta, sums = points - reference, torch.zeros_like(points)
        for node in range(self.nodes):
            sums += self.block.gradients(reference + (node + 0.5) / self.nodes * delta)[1]
        return delta * sums / self.nodes
