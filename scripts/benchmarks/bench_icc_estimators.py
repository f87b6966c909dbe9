"""Estimators of contributions: in exact cases, by the number of nodes, and beside SALib at equal cost."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from SALib.analyze import sobol as salib_analyze
from SALib.sample import sobol as salib_sample
from torch import Tensor

from scripts.benchmarks.benchlib import ROOT, Table
from xattr_cli.numerics.sensitivity.factorial import FullFactorial, worths
from xattr_cli.numerics.sensitivity.permutation_walk import RoundWalk
from xattr_cli.numerics.sensitivity.pick_freeze import evaluate_subsets
from xattr_cli.numerics.sensitivity.polynomial_chaos import Chaos
from xattr_cli.numerics.sensitivity.shapley import shapley_values
from xattr_cli.numerics.sensitivity.sobol_sequence import paired_draws

sys.path.append(str(ROOT / "tests"))
from helpers.causal_problems import TABLE, Problem, contributions, normal, response_of

MEMORY = 2**28


def random_network(nodes: int, seed: int = 3) -> Callable[[Tensor], Tensor]:
    """A ReLU network 64-64 with random weights, on normal noise."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(nodes, 64, generator=generator, dtype=torch.float64) / nodes**0.5
    bias = torch.randn(64, generator=generator, dtype=torch.float64) * 0.3
    second = torch.randn(64, 64, generator=generator, dtype=torch.float64) / 8 * 1.5
    last = torch.randn(64, generator=generator, dtype=torch.float64)
    return lambda u: ((normal(u) @ first + bias).relu() @ second).relu() @ last


def rms(errors: Sequence[Any]) -> float:
    """Root mean square over everything."""
    return float(np.sqrt(np.mean(np.square(np.concatenate([np.ravel(error) for error in errors])))))


# --- the exact table ----------------------------------------------------------------------------


def exact_table(seeds: int) -> Table:
    """Errors and coverage in the cases that are known exactly."""
    return Table(
        "Exact cases",
        {"case": "", "draws": ",d", "largest error": ".4f", "RMSE": ".1e", "within ± 2 standard errors": ".0%",
         "RMSE with control: polynomial": ".1e"},
        list(_exact_rows(seeds)),
        f"Topological and Shapley contributions over {seeds} seeds, 8 replicates, all subsets of the nodes. Where "
        "nothing is left to err, as for bits, the standard error is 0, too.",
    )  # fmt: skip


def _exact_rows(seeds: int) -> Iterator[Sequence[Any]]:
    for name, problem in TABLE.items():
        family = "legendre" if name in ("Ishigami", "exclusive or", "and") else "hermite"
        chaos = Chaos.largest((family,) * len(problem.parents))
        for draws in (2**12, 2**15, 2**18):
            plain, inside = _errors(problem, draws, seeds, None)
            controlled, _ = _errors(problem, draws, seeds, chaos) if draws == 2**12 else ([], [])
            largest = max(float(np.abs(error).max()) for error in plain)
            control = rms(controlled) if controlled else None
            yield name, draws, largest, rms(plain), float(np.mean(inside)), control


def _errors(
    problem: Problem, draws: int, seeds: int, surrogate: Chaos | None
) -> tuple[list[np.ndarray], list[Any]]:
    errors, inside = [], []
    for seed in range(seeds):
        found = contributions(problem.function, problem.parents, draws=draws // 8, seed=seed, surrogate=surrogate)
        for name in ("shapley", "topological"):
            share = found.shares[name]
            errors.append(share.value[:, 0].numpy() - np.array(problem.exact[name]))
            inside.append(np.abs(errors[-1]) <= 2 * share.standard_error[:, 0].numpy() + 1e-15)
    return errors, inside


# --- all subsets or walks -----------------------------------------------------------------------


def design_table(seeds: int) -> Table:
    """Exact enumeration against walks, by the number of nodes."""
    return Table(
        "All subsets or walks",
        {"nodes": "d", "all subsets": ".2f", "walk there and back": ".2f"},
        list(_design_rows(seeds)),
        f"RMSE of the Shapley contributions × √evaluations over {seeds} seeds: ReLU networks 64-64 of independent "
        "normal inputs, about 2¹⁷ evaluations each. `estimator: auto` takes all subsets of up to 5 nodes.",
    )


def _design_rows(seeds: int) -> Iterator[Sequence[Any]]:
    for nodes in (3, 4, 5, 6, 7, 8, 10, 12):
        problem = Problem(random_network(nodes), ((),) * nodes, {}, 0.0)
        truth = np.mean([_walk(problem, 2**14, 10**6 + seed)[0] for seed in range(16)], axis=0)
        estimates = (
            [estimate(problem, 2**17, seed) for seed in range(seeds)] for estimate in (_subsets, _walk_of)
        )
        yield nodes, *(_efficiency(found, truth) for found in estimates)


def _efficiency(found: Sequence[tuple[np.ndarray, int]], truth: np.ndarray) -> float:
    return rms([value - truth for value, _ in found]) * math.sqrt(found[0][1])


def _subsets(problem: Problem, budget: int, seed: int) -> tuple[np.ndarray, int]:
    nodes = len(problem.parents)
    draws = budget >> nodes
    design = FullFactorial(nodes)
    worth = worths(design.energies(_outputs(problem, design, draws, seed)))
    return (shapley_values(worth) / worth[-1])[:, 0].numpy(), draws << nodes


def _walk_of(problem: Problem, budget: int, seed: int) -> tuple[np.ndarray, int]:
    return _walk(problem, 1 << int(math.log2(budget / (2 * len(problem.parents)))), seed)


def _walk(problem: Problem, draws: int, seed: int) -> tuple[np.ndarray, int]:
    nodes = len(problem.parents)
    random = np.random.default_rng(seed)
    walk = RoundWalk(torch.from_numpy(random.permuted(np.tile(np.arange(nodes), (draws, 1)), axis=1)))
    found = walk.shapley(slice(0, draws), _outputs(problem, walk, draws, seed))
    return (found["shapley"] / found["variance"])[:, 0].numpy(), 2 * nodes * draws


def _outputs(problem: Problem, design: Any, draws: int, seed: int) -> Tensor:
    response = response_of(problem.function, problem.parents)

    def draw(part: slice) -> tuple[Tensor, Tensor]:
        return paired_draws(len(problem.parents), seed, part.start, part.stop - part.start)

    return torch.cat([outputs for _, outputs in evaluate_subsets(response, design, draw, draws, MEMORY)])


# --- Sobol' indices beside SALib ----------------------------------------------------------------


def salib_table(seeds: int) -> Table:
    """First-order and total indices against SALib's at the same number of evaluations."""
    return Table(
        "Sobol' indices beside SALib",
        {"function": "", "evaluations": ",d", "SALib": ".1e", "sobol": ".1e", "sobol, control: none": ".1e",
         "SALib / sobol": ".1f"},
        list(_salib_rows(seeds)),
        f"RMSE of first-order and total indices over {seeds} seeds at equal cost; SALib's defaults, which include "
        "second-order indices. Ours come in 8 independent replicates, which give the standard errors; the "
        "network's true indices are those of 2²³ evaluations.",
    )  # fmt: skip


def _salib_rows(seeds: int) -> Iterator[Sequence[Any]]:
    network = Problem(random_network(3), ((),) * 3, {}, 0.0)
    reference = contributions(network.function, network.parents, draws=2**17, seed=10**6)
    known = {name: reference.shares[name].value[:, 0].numpy() for name in ("first_order", "total")}
    cases = {"Ishigami": (TABLE["Ishigami"], TABLE["Ishigami"].exact, "legendre"),
             "ReLU network, 3 inputs": (network, known, "hermite")}  # fmt: skip
    for name, (problem, exact, family) in cases.items():
        chaos = Chaos.largest((family,) * 3)
        for draws in (1024, 8192):
            errors: dict[str, list[Any]] = {"SALib": [], "sobol": [], "plain": []}
            for seed in range(seeds):
                errors["SALib"].append(_salib_errors(problem, exact, draws, seed))
                for one, surrogate in (("sobol", chaos), ("plain", None)):
                    found = contributions(
                        problem.function, problem.parents, draws=draws // 8, seed=seed, surrogate=surrogate
                    )
                    errors[one].append([found.shares[k].value[:, 0].numpy() - exact[k] for k in known])
            ours = [rms(errors[one]) for one in ("SALib", "sobol", "plain")]
            yield name, 8 * draws, *ours, ours[0] / ours[1]


def _salib_errors(problem: Problem, exact: dict[str, Any], draws: int, seed: int) -> list[np.ndarray]:
    sample = {"num_vars": 3, "names": ["a", "b", "c"], "bounds": [[0, 1]] * 3}
    points = salib_sample.sample(sample, draws, seed=seed).clip(2.0**-31, 1 - 2.0**-31)
    outputs = problem.function(torch.from_numpy(points)).numpy()
    found = salib_analyze.analyze(sample, outputs, num_resamples=2, seed=seed)
    return [found["S1"] - exact["first_order"], found["ST"] - exact["total"]]
