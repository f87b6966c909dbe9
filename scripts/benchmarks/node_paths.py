"""The paths on which rules are compared: of small networks, and of photographs from a store of sketches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from scripts.benchmarks.bench_cases import case_of, trapezoid, true_error
from scripts.benchmarks.photo_reference import FOLDER, INTERVALS, reference
from scripts.benchmarks.speed_cases import SpeedCase, breast_cancer, vowels
from xattr_cli.device import Packing, Rows, Scorer, kinked_operations
from xattr_cli.numerics.paths.field import Evaluation, Field
from xattr_cli.numerics.paths.integrate import integrate_fixed
from xattr_cli.numerics.paths.quadrature import FixedRule
from xattr_cli.numerics.paths.straight import PathPoints, StraightPath
from xattr_cli.registry import SCORES
from xattr_cli.samples import InputSpec, Layout

__all__ = ["CASES", "PHOTOGRAPHS", "Network", "Paths", "StoredField", "paths_of"]

PHOTOGRAPHS = "efficientnet-lite0"
ROWS_PER_CALL = 512


@dataclass(frozen=True)
class Network:
    """A network and the rows that are explained, with what evaluates them as in a job."""

    scorer: Scorer
    rows: Rows


@dataclass(frozen=True)
class Paths:
    """Paths of some rows, and their true maps.

    Attributes:
        name: of the network.
        field: evaluates the network, or looks up what it once said.
        path: from baseline to input.
        smooth: the network has no kinks.
        network: what `field` evaluates; None if it looks up.
    """

    name: str
    field: Field
    path: StraightPath
    smooth: bool
    network: Network | None = None

    @cached_property
    def truth(self) -> Tensor:
        """(rows, D), the maps from 1,024 intervals in u, t = u²."""
        return self.maps(trapezoid(INTERVALS, 2.0))

    def maps(self, rule: FixedRule) -> Tensor:
        """(rows, D), by the same nodes for all rows."""
        return integrate_fixed(self.field, self.path, rule).mean_gradient * self.path.delta

    def error(self, maps: Tensor) -> Tensor:
        """(rows,) float64, relative L2 error of maps (rows, D)."""
        return true_error(maps, self.truth)


@dataclass(frozen=True)
class StoredField:
    """Sketches of Δ ⊙ ∇f at the nodes t = (k / 1024)²; any other t is taken for the nearest of them.

    The score is the sum of a sketch's integral, so that a map of sketches has a completeness gap as others have.

    Attributes:
        sketches: (rows, 1025, s).
    """

    sketches: np.ndarray

    @cached_property
    def scores(self) -> Tensor:
        sums = torch.tensor(np.stack([row.sum(axis=1, dtype=np.float64) for row in self.sketches]))
        integrand = sums * 2 * torch.linspace(0, 1, INTERVALS + 1, dtype=torch.float64)
        steps = (integrand[:, 1:] + integrand[:, :-1]) / 2 / INTERVALS
        return torch.nn.functional.pad(steps.cumsum(dim=1), (1, 0)).float()

    def gradients(self, points: PathPoints) -> Iterator[Evaluation]:
        node = _nearest(points.t)
        for part in torch.arange(len(node)).split(ROWS_PER_CALL):
            row = points.row[part]
            sketches = torch.from_numpy(self.sketches[row.numpy(), node[part].numpy()])
            yield Evaluation(part, self.scores[row, node[part]], sketches)

    def values(self, points: PathPoints, place: Tensor | None = None) -> Tensor:
        return self.scores[points.row, _nearest(points.t)]


def _nearest(t: Tensor) -> Tensor:
    return (t.double().sqrt() * INTERVALS).round().long()


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
        return paths_of(name, case.network, case.images)

    return made


def of_case(name: str, case: Callable[[int], SpeedCase]) -> Callable[[int], Paths]:
    """A network and rows of the speed benchmark."""

    def made(rows: int) -> Paths:
        chosen = case(rows)
        return paths_of(name, chosen.module, chosen.inputs, chosen.extra)

    return made


def paths_of(name: str, module: nn.Module, inputs: Tensor, extra: tuple[Tensor, ...] = ()) -> Paths:
    """From zero, of the predicted class; `extra`: what the network takes beside the inputs, one each per row."""
    spec = InputSpec("X", tuple(inputs.shape[1:]), np.dtype("float32"))
    context = {f"extra {number}": tensor for number, tensor in enumerate(extra)}
    specs = (spec, *(InputSpec(key, tuple(t.shape[1:]), t.numpy().dtype) for key, t in context.items()))
    scorer = Scorer(module=module, inputs=specs, layout=Layout((spec,)), score=SCORES.get("logit")(),
                    device=inputs.device, dtype=torch.float32, packing=Packing(ROWS_PER_CALL))  # fmt: skip
    with torch.no_grad():
        target = module(inputs, *extra).argmax(dim=1)
    flat = inputs.flatten(1)
    rows = Rows(flat, context, target, torch.arange(len(flat)))
    smooth = not kinked_operations(lambda: module(inputs[:2], *(each[:2] for each in extra)))
    path = StraightPath(torch.zeros_like(flat), flat)
    return Paths(name, scorer.field(rows), path, smooth, Network(scorer, rows))


CASES: Mapping[str, tuple[Callable[[int], Paths], int]] = {
    PHOTOGRAPHS: (photographs, 20),
    "digits CNN": (of_digits("digits CNN", "relu_cnn_maxpool"), 100),
    "ReLU MLP": (of_digits("ReLU MLP", "relu_mlp"), 100),
    "GELU MLP": (of_digits("GELU MLP", "gelu_mlp"), 100),
    "table MLP": (of_case("table MLP", breast_cancer), 100),
    "BiLSTM": (of_case("BiLSTM", vowels), 60),
}
"""Name -> the paths, and their number of rows."""
