"""Beside others: path-explain's error falls towards our value, samples against β, and times as in the paper."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from shapiq import PermutationSamplingSII
from torch import Tensor, nn

from scripts.benchmarks.bench_cases import block_of
from scripts.benchmarks.benchlib import Table
from scripts.benchmarks.hessian_cases import matrix_error
from scripts.benchmarks.hessian_peers import foreseen_seconds, interactions
from scripts.papers.interactions.interactions_methods import hessians
from scripts.papers.paper_jobs import Claim, claim_table, mean_of
from xattr_cli.engines.interactions.integrated_hessians import IntegratedHessians
from xattr_cli.models.zoo import mlp
from xattr_cli.reports.drawing.style import PALETTE, styled

__all__ = ["falling", "tables"]

SEEDS, ROWS, FEATURES = 5, 8, 8
SAMPLES = (25, 100, 400, 1600)
BETAS = (1.0, 3.0, 10.0, 30.0, 100.0)
WITHIN, EXACT = 0.01, 1e-9
TIMED, TIMED_ROWS = (5, 50, 500), 32
THEIR_SAMPLES = 200  # of path-explain's README
BUDGET = 2000  # coalitions of shapiq, for one row
ASKED: Mapping[str, Mapping[str, Any]] = {"all pairs": {}, "one row": {"row": 0}, "one pair": {
    "features": (0, 1), "rest": "drop"}}  # fmt: skip


def tables(folder: Path, quick: bool) -> list[Table]:
    """Errors, samples, and times."""
    seeds = 1 if quick else SEEDS
    errors = np.array([their_errors(seed, SAMPLES[: 2 if quick else None]) for seed in range(seeds)])
    nodes, moved, more = (np.array(each) for each in zip(*(of_betas(seed) for seed in range(seeds)), strict=True))
    draw(errors, nodes, folder / "samples.png")
    times = [line for features in TIMED[: 1 if quick else None] for line in time_lines(features)]
    claims = [_falling_claim(errors), _beta_claim(nodes, more), _time_claim(times)]
    return [
        claim_table(f"Beside path-explain, the paper's package; networks of {seeds} seeds", claims),
        _error_table(errors),
        _beta_table(nodes, moved, more),
        _time_table(times),
    ]


def network_of(seed: int, features: int, activation: str) -> tuple[nn.Sequential, Tensor]:
    """features-64-64-1 with random weights, and standard normal rows."""
    torch.manual_seed(seed)
    return mlp(features, [64, 64], 1, activation).eval(), torch.randn(ROWS, features)


def ours(module: nn.Module, inputs: Tensor, **options: Any) -> Any:
    """As a job computes it, in the dtype of the inputs."""
    engine = IntegratedHessians(**options)
    block = block_of(module, inputs, engines=[engine], rows=4096)
    engine.check(block)
    return engine.explain(block)


# --- towards our value ----------------------------------------------------------------------------


def their_errors(seed: int, samples: tuple[int, ...]) -> list[float]:
    """Distance of path-explain's matrices from ours at 1e-9, by the number of its samples."""
    module, inputs = network_of(seed, FEATURES, "gelu")
    exact, points = module.double(), inputs.double()
    truth = ours(exact, points, rtol=EXACT).curves["interaction"]
    return [float(matrix_error(interactions(exact, points, count), truth).mean()) for count in samples]


def falling(errors: np.ndarray, samples: tuple[int, ...]) -> np.ndarray:
    """(seeds,) power of the number of samples that errors (seeds, numbers) fall with."""
    return np.asarray([-np.polyfit(np.log(samples), np.log(row), 1)[0] for row in errors])


def _falling_claim(errors: np.ndarray) -> Claim:
    samples = SAMPLES[: errors.shape[1]]
    power, last = falling(errors, samples), errors[:, -1]
    always = bool((np.diff(errors, axis=1) < 0).all())
    return Claim(
        "The double integral over samples and the single one here have the same value",
        f"path-explain's distance from ours at 1e-9 goes from {errors[:, 0].mean():.1%} with {samples[0]} samples "
        f"to {last.mean():.2%} with {samples[-1]}, as samples to the power of −{mean_of(power)}, in all networks "
        f"at every step{'' if always else ' but some'}: extrapolated to none",
        "yes" if always and power.mean() > 0.4 else "in part" if power.mean() > 0.4 else "no",
        f"path-explain comes to our value: {errors[:, 0].mean():.1%} away with {samples[0]} samples, "
        f"{last.mean():.2%} with {samples[-1]}; ours takes about ten gradients for {WITHIN:.0%}.",
    )


def _error_table(errors: np.ndarray) -> Table:
    rows = [
        [samples, mean_of(100 * errors[:, place], ".3f")]
        for place, samples in enumerate(SAMPLES[: errors.shape[1]])
    ]
    note = (
        f"GELU networks {FEATURES}-64-64-1, {ROWS} rows, float64, zero baseline: relative Frobenius distance from "
        "ours at a tolerance of 1e-9, mean over rows, mean ± standard deviation over networks."
    )
    columns = {"samples of path-explain": ",d", "distance, %": ""}
    return Table("path-explain's error as its samples rise", columns, rows, note)


# --- samples against β ----------------------------------------------------------------------------


def of_betas(seed: int) -> tuple[list[float], list[float], list[float]]:
    """By β of the softplus in place of ReLU: nodes of a row for 1 %, by how much the score moves, and the error of
    path-explain's way (a product of two midpoint rules) with 100 samples."""
    relu, inputs = network_of(seed, FEATURES, "relu")
    nodes, moved, theirs = [], [], []
    for beta in BETAS:
        soft = nn.Sequential(*(nn.Softplus(beta) if isinstance(one, nn.ReLU) else one for one in relu)).double()
        points = inputs.double()
        found = ours(soft, points, rtol=WITHIN)
        truth = ours(soft, points, rtol=1e-6).curves["interaction"]
        nodes.append(float(found.curves["nodes"].double().mean()))
        theirs.append(float(matrix_error(interactions(soft, points, 100), truth).mean()))
        with torch.no_grad():
            change = relu.double()(points) - relu(torch.zeros_like(points))
            moved.append(float(((soft(points) - relu(points)).abs().mean()) / change.abs().mean()))
    return nodes, moved, theirs


def _beta_claim(nodes: np.ndarray, theirs: np.ndarray) -> Claim:
    mean, error = nodes.mean(axis=0), theirs.mean(axis=0)
    rising = bool((np.diff(mean) >= 0).all())
    return Claim(
        "The larger β, the nearer to ReLU, and the more samples are needed",
        f"nodes of a row for {WITHIN:.0%}: "
        + ", ".join(f"{b:g}: {n:.0f}" for b, n in zip(BETAS, mean, strict=True))
        + "; error of path-explain with 100 samples: "
        + ", ".join(f"{b:g}: {e:.0%}" for b, e in zip(BETAS, error, strict=True)),
        "yes" if rising and error[-1] > error[0] else "in part" if mean[-1] > mean[0] else "no",
    )  # fmt: skip


def _beta_table(nodes: np.ndarray, moved: np.ndarray, theirs: np.ndarray) -> Table:
    rows = [
        [
            f"{beta:g}",
            mean_of(nodes[:, k], ".1f"),
            mean_of(100 * theirs[:, k], ".1f"),
            mean_of(100 * moved[:, k], ".1f"),
        ]
        for k, beta in enumerate(BETAS)
    ]
    columns = {"β": "", f"nodes of a row for {WITHIN:.0%}": "", "error of path-explain, 100 samples, %": "",
               "the score moves by, %": ""}  # fmt: skip
    note = (
        f"ReLU networks {FEATURES}-64-64-1 with softplus ln(1 + exp(βz)) / β in place of ReLU; the score moves "
        "by: mean over rows, relative to the change of the score. 95 nodes are the most that a row is given."
    )
    return Table("Samples against β", columns, rows, note)


# --- times ----------------------------------------------------------------------------------------


def seconds_of(work: Callable[[], object]) -> float:
    """Of processor time, the better of two."""
    found = []
    for _ in range(2):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def time_lines(features: int) -> list[list[Any]]:
    """The lines of one size: ours, path-explain foreseen, plain Hessians, sampled Shapley interactions."""
    torch.manual_seed(0)
    module, inputs = mlp(features, [128, 128], 1, "gelu").eval(), torch.randn(TIMED_ROWS, features)
    lines = []
    for asked, options in ASKED.items():
        own = seconds_of(rows_of(module, inputs, options))
        count = features if asked == "all pairs" else 1
        theirs = foreseen_seconds(module, inputs, THEIR_SAMPLES, rows_of_matrix=count)
        whole = asked == "all pairs"
        plain = seconds_of(lambda: hessians(module, inputs)) if whole else None
        sampled = shapley_seconds(module, inputs) if whole else None
        lines.append([features, asked, own, theirs, plain, sampled, theirs / own])
    return lines


def rows_of(module: nn.Module, inputs: Tensor, options: Mapping[str, Any]) -> Callable[[], object]:
    """The rows alone: a network is probed once per job, and not here."""
    engine = IntegratedHessians(rtol=WITHIN, **options)
    block = block_of(module, inputs, engines=[engine], rows=4096)
    engine.check(block)
    return lambda: engine.explain(block)


def shapley_seconds(module: nn.Module, inputs: Tensor) -> float:
    """Of shapiq's permutation sampling for all rows, from one row; its budget is that of the constant."""
    row = inputs[0]

    @torch.no_grad()
    def game(coalitions: np.ndarray) -> np.ndarray:
        return module(row * torch.from_numpy(np.atleast_2d(coalitions)).to(row))[:, 0].double().numpy()

    sampler = PermutationSamplingSII(n=len(row), max_order=2, index="SII", random_state=0)
    began = time.process_time()
    sampler.approximate(BUDGET, game)
    return (time.process_time() - began) * len(inputs)


def _time_claim(lines: list[list[Any]]) -> Claim:
    ratios = [line[-1] for line in lines]
    grown = lines[-3][2] / max(lines[0][2], 1e-9)
    return Claim(
        "Integrated Hessians are practical for many features, single rows and pairs cost a fraction",
        f"all pairs of {lines[-3][0]} features take {lines[-3][2]:.1f} s for {TIMED_ROWS} rows, {grown:.0f} times "
        f"those of {lines[0][0]}; a row {lines[-2][2]:.2f} s, a pair {lines[-1][2]:.2f} s; path-explain with "
        f"{THEIR_SAMPLES} samples takes {min(ratios):.0f} to {max(ratios):,.0f} times as long",
        "yes" if lines[-2][2] < lines[-3][2] / 5 else "in part",
        f"Time, {lines[-3][0]} features × {TIMED_ROWS} rows: all pairs {lines[-3][2]:.1f} s, one pair "
        f"{lines[-1][2]:.2f} s; path-explain {lines[-3][3]:,.0f} s (foreseen).",
    )


def _time_table(lines: list[list[Any]]) -> Table:
    columns = {
        "features": "d", "wanted": "", "ours, s": ".3f", "path-explain, s (foreseen)": ",.1f", "plain Hessian, "
        "s": ".3f",
        "sampled Shapley interactions, s": ",.1f", "path-explain / ours": ",.0f",
    }  # fmt: skip
    note = (
        f"GELU networks features-128-128-1, {TIMED_ROWS} rows, one thread, processor time; ours at {WITHIN:.0%}, "
        f"path-explain with the {THEIR_SAMPLES} samples of its README, foreseen from a part of its loops. A plain "
        "Hessian is one node, and no attribution; Shapley interactions: shapiq's permutation sampling with "
        f"{BUDGET:,} coalitions a row, timed on one row, few for 500 features, whose pairs are 124,750."
    )
    return Table("The timing grid", columns, lines, note)


@styled
def draw(errors: np.ndarray, nodes: np.ndarray, path: Path) -> None:
    """Both: the error of path-explain over its samples, and nodes over β."""
    figure = Figure(figsize=(8, 3.0), layout="constrained")
    first, second = figure.subplots(1, 2)
    for row in errors:
        first.loglog(SAMPLES[: errors.shape[1]], row, "o-", color=PALETTE[0], lw=0.8, ms=3)
    first.set(xlabel="samples of path-explain", ylabel="distance from ours at 1e-9")
    for row in nodes:
        second.semilogx(BETAS, row, "o-", color=PALETTE[1], lw=0.8, ms=3)
    second.set(
        xlabel="β of the softplus in place of ReLU", ylabel=f"nodes of a row for {WITHIN:.0%}", ylim=(0, None)
    )
    figure.savefig(path, dpi=110)
