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

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from shutil import rmtree

import torch
from torch import Tensor, nn

from scripts.papers.interactions.interactions_ensemble import Recipe, train
from scripts.papers.interactions.interactions_methods import (
    EXPECTED,
    HESSIAN,
    INTEGRATED,
    SHAPLEY,
    TIMES_INPUT,
    strengths,
)
from scripts.papers.interactions.interactions_simulation import (
    FUNCTIONS,
    PAIRS,
    REMOVALS,
    Simulation,
    order_of,
    simulate,
)

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
    samples: int = 3000
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


def curves(
    plan: Plan,
    folder: Path,
    *,
    workers: int = 1,
    resume: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Curve]:
    """All curves of a plan, in its order.

    Arguments:
        plan: how much.
        folder: where the product's jobs and results of the first seed are left, and the curves of every seed.
        workers: processes, of one thread each; the curves do not depend on them.
        resume: take the curves that an interrupted run of the same plan has left there.
        progress: told what has been finished.
    """
    tasks = list(product(plan.removals, range(plan.seeds)))
    found = []
    with _pool(workers) as run:
        for (removal, seed), some in zip(tasks, run(partial(_kept, plan, folder, resume), tasks), strict=True):
            progress(f"remove and retrain: {removal}, seed {seed}")
            found += some
    return found


def _kept(plan: Plan, folder: Path, resume: bool, task: tuple[str, int]) -> list[Curve]:
    """The curves of one seed, from the folder if they are there and wanted."""
    removal, seed = task
    place = folder / f"{removal}_{seed}.json"
    # whatever else is computed beside it
    asked = json.loads(json.dumps({**asdict(plan), "seeds": seed, "removals": removal}))
    if resume and place.exists() and (kept := json.loads(place.read_text()))["plan"] == asked:
        return [Curve(**{**curve, "removed": tuple(curve["removed"]), "errors": tuple(curve["errors"])})
                for curve in kept["curves"]]  # fmt: skip
    found = _of_seed(plan, folder, task)
    place.write_text(json.dumps({"plan": asked, "curves": [asdict(curve) for curve in found]}))
    return found


@contextmanager
def _pool(workers: int) -> Iterator[Callable[..., Iterable[list[Curve]]]]:
    """A `map` over processes; the built-in one for a single worker."""
    if workers == 1:
        yield map
        return
    context = get_context("spawn")  # a fork would inherit torch's threads, but not run them
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        yield pool.map


def _of_seed(plan: Plan, folder: Path, task: tuple[str, int]) -> list[Curve]:
    removal, seed = task
    folder.mkdir(parents=True, exist_ok=True)
    simulations = [simulate(name, removal, seed, plan.samples) for name in plan.functions]
    orders = []
    for simulation, network in zip(simulations, _explained(simulations, seed, plan), strict=True):
        place = folder / removal / f"{simulation.function.replace(' ', '_')}_{seed}"
        orders.append(_orders(simulation, network, seed, place))
        if seed > 0:
            rmtree(place)  # one of each is enough to look at
    return list(_retrained(simulations, orders, seed, plan))


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
