"""The paths on which rules for placing nodes are compared: of small networks, and of photographs from a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from scripts.benchmarks.bench_cases import case_of
from scripts.benchmarks.node_fields import NetworkField, SomeRows, StoredField
from scripts.benchmarks.photo_reference import FOLDER, INTERVALS, reference
from scripts.benchmarks.speed_cases import SpeedCase, breast_cancer, vowels
from xattr_cli.device import kinked_operations
from xattr_cli.numerics.paths.field import Field
from xattr_cli.numerics.paths.straight import StraightPath

__all__ = ["CASES", "PHOTOGRAPHS", "Paths"]

PHOTOGRAPHS = "efficientnet-lite0"
ROWS_PER_PASS = 4
BLUR = 32
"""Fine cells over which squared jumps are averaged: a density is a matter of places, not of single jumps."""


@dataclass(frozen=True)
class Paths:
    """Paths of some rows, and what can be known of them with very many nodes.

    Attributes:
        name: of the network.
        field: evaluates the network, or looks up what it once said.
        path: from baseline to input.
        smooth: the network has no kinks.
    """

    name: str
    field: Field
    path: StraightPath
    smooth: bool

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.path.delta)

    def at(self, t: Tensor) -> Tensor:
        """(rows, n, D) Δ ⊙ ∇f at t (rows or 1, n)."""
        count = t.shape[1]
        row = torch.arange(self.rows).repeat_interleave(count)
        delta = self.path.delta
        found = delta.new_empty(len(row), delta.shape[1])
        for some in self.field.gradients(self.path.at(row, t.expand(self.rows, count).flatten().to(delta))):
            found[some.part] = some.gradients * delta[row[some.part]]
        return found.view(self.rows, count, -1)

    @cached_property
    def change(self) -> Tensor:
        """(rows,) float64, f(x) − f(x')."""
        row = torch.arange(self.rows)
        ends = [self.field.values(self.path.at(row, torch.full((self.rows,), t))).double() for t in (0.0, 1.0)]
        return ends[1] - ends[0]

    @cached_property
    def truth(self) -> Tensor:
        """(rows, D) float64, the maps from 1,024 intervals in u, t = u²."""
        return self._fine[0]

    @cached_property
    def jumps(self) -> Tensor:
        """(rows, 1024) squared jumps of Δ ⊙ ∇f per unit of t in every fine cell, relative to the squared map."""
        return self._fine[1]

    @cached_property
    def bends(self) -> Tensor:
        """(rows, 1024) length of the second derivative of Δ ⊙ ∇f, relative to the map's."""
        return self._fine[2]

    @cached_property
    def _fine(self) -> tuple[Tensor, Tensor, Tensor]:
        u = torch.linspace(0, 1, INTERVALS + 1, dtype=torch.float64)
        found = [self.part(rows)._pass_over(u) for rows in torch.arange(self.rows).split(ROWS_PER_PASS)]
        truth, jumps, bends = (torch.cat(parts) for parts in zip(*found, strict=True))
        return truth, jumps, bends

    def _pass_over(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        gradients = self.at(u.square()[None])
        weight = 2 * u / INTERVALS
        weight[-1] /= 2
        truth = torch.einsum("n,rnd->rd", weight.float(), gradients).double()
        size = truth.norm(dim=1, keepdim=True)
        steps = torch.diff(gradients, dim=1)
        width = torch.diff(u.square())
        jumps = steps.norm(dim=2).double().square() / width
        slopes = steps / width[:, None].float()
        bends = torch.diff(slopes, dim=1, append=slopes[:, -1:]).norm(dim=2) / width
        return truth, _blurred(jumps / size.square()), _blurred(bends / size)

    def part(self, rows: Tensor) -> Paths:
        """Of some of the rows."""
        start, stop = self.path.baseline[rows], self.path.input[rows]
        return Paths(self.name, SomeRows(self.field, rows), StraightPath(start, stop), self.smooth)

    def error(self, maps: Tensor) -> Tensor:
        """(rows,) float64, relative L2 error of maps (rows, D)."""
        return (maps.double() - self.truth).norm(dim=1) / self.truth.norm(dim=1)


def _blurred(values: Tensor) -> Tensor:
    """Means over `BLUR` neighbours of values (rows, n)."""
    padded = torch.nn.functional.pad(values[:, None], (BLUR // 2, BLUR - 1 - BLUR // 2), mode="replicate")
    return padded.unfold(2, BLUR, 1).mean(dim=3)[:, 0]


# --- cases ----------------------------------------------------------------------------------------


def photographs(rows: int) -> Paths:
    """Through efficientnet-lite0, from a black picture."""
    count = min(rows, 20)
    done = FOLDER / "done.npy"
    if not (done.exists() and np.load(done)[:count].all()):
        reference(FOLDER, count)
    sketches = np.load(FOLDER / "sketches.npy", mmap_mode="r")[:count]
    like = torch.ones(count, sketches.shape[2])
    return Paths(PHOTOGRAPHS, StoredField(sketches), StraightPath(torch.zeros_like(like), like), smooth=False)


def of_digits(name: str, network: str) -> Callable[[int], Paths]:
    """A network of the tests on digits, from zero."""

    def made(rows: int) -> Paths:
        case = case_of(network, rows)
        return _paths(name, case.network, case.images, ())

    return made


def of_case(name: str, case: Callable[[int], SpeedCase]) -> Callable[[int], Paths]:
    """A network and rows of the speed benchmark."""

    def made(rows: int) -> Paths:
        chosen = case(rows)
        return _paths(name, chosen.module, chosen.inputs, chosen.extra)

    return made


def _paths(name: str, network: nn.Module, inputs: Tensor, extra: tuple[Tensor, ...]) -> Paths:
    flat = inputs.flatten(1)
    smooth = not kinked_operations(lambda: network(inputs[:2], *(each[:2] for each in extra)))
    return Paths(name, NetworkField(network, inputs, extra), StraightPath(torch.zeros_like(flat), flat), smooth)


CASES: Mapping[str, tuple[Callable[[int], Paths], int]] = {
    PHOTOGRAPHS: (photographs, 20),
    "digits CNN": (of_digits("digits CNN", "relu_cnn_maxpool"), 100),
    "ReLU MLP": (of_digits("ReLU MLP", "relu_mlp"), 100),
    "GELU MLP": (of_digits("GELU MLP", "gelu_mlp"), 100),
    "table MLP": (of_case("table MLP", breast_cancer), 100),
    "BiLSTM": (of_case("BiLSTM", vowels), 60),
}
"""Name -> the paths, and their number of rows."""
