"""Remove and retrain: how fast networks forget a function when the interactions that a method names are removed.

The benchmark of Janizek, Sturmfels, Lee 2021 (arXiv 2002.04138), as their own program has it. A network
learns labels that are sums of known pairwise terms. A method ranks the 45 pairs of every sample by the size
of their interactions in that network. In every sample of the training, validation and test sets the terms
of the k strongest pairs are removed, a fresh network is trained on the new labels, and its test error is
noted: the larger the area under the curve of error against k, the better the method knew what matters.

Two things differ from that program: redrawn features do not leak into later terms that share them, and a
network is tested with the weights of its best epoch, not of its last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from interactions_ensemble import Recipe, train
from interactions_methods import EXPECTED, HESSIAN, INTEGRATED, SHAPLEY, TIMES_INPUT, strengths
from interactions_simulation import FUNCTIONS, PAIRS, REMOVALS, Simulation, order_of, simulate
from torch import Tensor, nn

__all__ = ["BORROWED", "COMPARED", "KNOWN", "RANDOM", "Curve", "Plan", "area_under", "curves"]

COMPARED = (INTEGRATED, EXPECTED, HESSIAN, TIMES_INPUT, SHAPLEY)
RANDOM, KNOWN, BORROWED = "random pairs", "known terms", "integrated Hessians of another sample"


@dataclass(frozen=True)
class Plan:
    """How much is computed.

    Attributes:
        seeds: each has its own data, terms and first weights.
        samples: of training, validation and test together.
        functions, removals: which of them.
        removed: k, from 0 to all pairs.
        recipe: how networks are trained.
    """

    seeds: int = 5
    samples: int = 5000
    functions: Sequence[str] = tuple(FUNCTIONS)
    removals: Sequence[str] = REMOVALS
    removed: Sequence[int] = (0, 1, 2, 3, 4, 6, 8, 10, 13, 16, 20, 25, 30, 37, 45)
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class Curve:
    """Test error against the number of interactions removed.

    Attributes:
        removal, function, seed, method: of which this is the curve.
        removed: k.
        errors: mean squared errors on the test samples, whose labels have variance 1 at first.
    """

    removal: str
    function: str
    seed: int
    method: str
    removed: tuple[int, ...]
    errors: tuple[float, ...]

    @property
    def area(self) -> float:
        """Mean error over k."""
        return area_under(self.removed, self.errors)


def area_under(removed: Sequence[int], errors: Sequence[float]) -> float:
    """Trapezoids, divided by the range of k: a mean of the errors."""
    x, y = torch.tensor(removed, dtype=torch.float64), torch.tensor(errors, dtype=torch.float64)
    return float(torch.trapezoid(y, x) / (x[-1] - x[0]))


def curves(plan: Plan, folder: Path, progress: Callable[[str], None] = lambda text: None) -> Iterator[Curve]:
    """All curves of a plan; the jobs of the product and their results are left in `folder`."""
    for removal in plan.removals:
        for seed in range(plan.seeds):
            simulations = [simulate(name, removal, seed, plan.samples) for name in plan.functions]
            progress(f"{removal}, seed {seed}: explaining {len(simulations)} networks")
            orders = [
                _orders(simulation, network, seed, folder / removal / simulation.function.replace(" ", "_"))
                for simulation, network in zip(simulations, _explained(simulations, seed, plan), strict=True)
            ]
            progress(f"{removal}, seed {seed}: retraining")
            yield from _retrained(simulations, orders, seed, plan)


def _explained(simulations: Sequence[Simulation], seed: int, plan: Plan) -> list[nn.Sequential]:
    labels = torch.stack([simulation.terms.sum(dim=1) for simulation in simulations])
    ensemble, _ = train(simulations[0].inputs, labels, seed=seed, recipe=plan.recipe)
    return [ensemble.network(number) for number in range(len(simulations))]


def _orders(simulation: Simulation, network: nn.Sequential, seed: int, folder: Path) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    samples = len(simulation.inputs)
    found = strengths(network, simulation.inputs, folder)
    controls = {
        RANDOM: torch.rand(samples, PAIRS.shape[1], generator=generator),
        KNOWN: simulation.known_strength(),
        BORROWED: found[INTEGRATED][torch.randperm(samples, generator=generator)],
    }
    return {method: order_of(strength) for method, strength in {**found, **controls}.items()}


def _retrained(
    simulations: Sequence[Simulation], orders: Sequence[Mapping[str, Tensor]], seed: int, plan: Plan
) -> Iterator[Curve]:
    """All networks of a seed in one ensemble; nothing removed, and everything, are the same for every method."""
    shared = (0, PAIRS.shape[1])
    wanted: dict[tuple[int, str, int], Tensor] = {}
    for number, (simulation, by_method) in enumerate(zip(simulations, orders, strict=True)):
        for method, order in by_method.items():
            for k in plan.removed:
                key = (number, "" if k in shared else method, k)
                if key not in wanted:
                    wanted[key] = simulation.labels(order, k)
    # those that take as many epochs are neighbours, so that they leave the ensemble together
    keys = sorted(wanted, key=lambda key: key[2])
    _, errors = train(
        simulations[0].inputs, torch.stack([wanted[key] for key in keys]), seed=seed, recipe=plan.recipe
    )
    error = dict(zip(keys, errors.tolist(), strict=True))
    for number, (simulation, by_method) in enumerate(zip(simulations, orders, strict=True)):
        for method in by_method:
            found = tuple(error[number, "" if k in shared else method, k] for k in plan.removed)
            yield Curve(simulation.removal, simulation.function, seed, method, tuple(plan.removed), found)
