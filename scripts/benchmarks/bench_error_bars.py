"""Reported against true errors, on trained networks with and without kinks; and the formulas not adopted.

Example: python -m scripts.benchmarks.bench_error_bars --rows 200
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median
from typing import Any

import torch
from torch import Tensor

from scripts.benchmarks.bench_cases import NETWORKS, Case, case_of, share_covered, true_error
from scripts.benchmarks.benchlib import Table, publish, versions
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients

RTOLS = (0.05, 0.02)
MAX_NODES = 1024
FIRST_INTERVALS = 4
ROWS_AT_ONCE = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200, help="digits to explain (default: 200)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch finds them)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    cases = [
        case_of(name, options.rows, score=score, origin=origin)
        for name, score, origin in product(NETWORKS, ("logit", "probability"), ("zero", "mean"))
    ]
    outcomes = [outcome for case in cases for outcome in outcomes_of(case)]
    tables = [adopted_table(outcomes), formula_table(outcomes)]
    publish("error_bars", versions("torch") | {"rows": options.rows}, tables)


@dataclass(frozen=True)
class Outcome:
    """What a formula made of the rows of a case, each stopped when its reported error was small enough.

    Attributes:
        case, formula, rtol: of which this is the outcome.
        reported, true: (rows,) relative errors.
        gradients: (rows,) along the path.
        converged: (rows,) whether it stopped before it had to.
    """

    case: Case
    formula: str
    rtol: float
    reported: Tensor
    true: Tensor
    gradients: Tensor
    converged: Tensor

    @property
    def coverage(self) -> float:
        """Share of rows whose true error is at most 1.25 times the reported one."""
        return share_covered(self.true, self.reported)

    def ratio(self, quantile: float) -> float:
        """Quantile of reported / true."""
        return float((self.reported / self.true.clamp(min=1e-7)).quantile(quantile))

    @property
    def mean_gradients(self) -> float:
        """Cost per row."""
        return float(self.gradients.double().mean())

    @property
    def true_p95(self) -> float:
        """95th percentile of the true error."""
        return float(self.true.quantile(0.95))


def outcomes_of(case: Case) -> Iterator[Outcome]:
    """Of the engine as it is, of the engine taken as kinked, and of the formulas on the same nodes."""
    for rtol in RTOLS:
        yield engine_outcome(case, ADOPTED, rtol, smooth=not case.kinked)
        yield engine_outcome(case, CAUTIOUS, rtol, smooth=False)
    levels = levels_of(case)
    for (name, formula), rtol in product(FORMULAS.items(), RTOLS):
        yield stopped(case, name, formula, levels, rtol)


# --- the engine -----------------------------------------------------------------------------------

ADOPTED = "adopted"
CAUTIOUS = "adopted, as if the network had kinks"


def engine_outcome(case: Case, formula: str, rtol: float, *, smooth: bool) -> Outcome:
    """What the engine reports, computed as a job computes it."""
    engine = IntegratedGradients(rtol=rtol, max_nodes=MAX_NODES)
    block = case.block(engine)
    block.smooth = smooth
    found = engine.explain(block)
    true = true_error(found.attribution, case.truth)
    gradients = found.evaluations - 1  # the other one is the score of the baseline
    return Outcome(case, formula, rtol, found.relative_error, true, gradients, found.status == 0)


# --- formulas that were not adopted ---------------------------------------------------------------


@dataclass(frozen=True)
class Level:
    """What a formula may look at when T_2n = (T_n + M_n) / 2 is known; all (rows,), relative to ‖T_2n‖.

    Attributes:
        intervals: n.
        difference: ‖T_n − M_n‖.
        before: the same one level earlier; twice `difference` at the first.
        cells: effective number of cells that contribute to it, (Σ‖d_k‖²)² / Σ‖d_k‖⁴.
        gap: |Σ map − (f(x) − f(x'))| / |f(x) − f(x')|.
        true: error of T_2n.
    """

    intervals: int
    difference: Tensor
    before: Tensor
    cells: Tensor
    gap: Tensor
    true: Tensor


def expected(level: Level) -> Tensor:
    """One jump at a random place of its cell: the root of the mean squared error."""
    return level.difference / 12**0.5


def expected_with_spread(level: Level) -> Tensor:
    """The expected error times a 95 % bound on the spread of a sum of few jumps."""
    return expected(level) * (1 + 1.47 / level.cells.sqrt()).clamp(max=3).sqrt()


def observed_order(level: Level) -> Tensor:
    """Richardson: T_4n − T_2n, T_8n − T_4n, ... taken for a geometric series."""
    rate = (level.difference / level.before).nan_to_num(0.5).clamp(max=0.9)
    return level.difference / 2 * rate / (1 - rate)


FORMULAS: Mapping[str, Callable[[Level], Tensor]] = {
    "completeness gap": lambda level: level.gap,
    "expected, ‖T − M‖ / 2√3": expected,
    "expected × √(1 + 1.47 / √N_eff)": expected_with_spread,
    "at worst, ‖T − M‖ / 2": lambda level: level.difference / 2,
    "observed order (Richardson)": observed_order,
}


def stopped(
    case: Case, name: str, formula: Callable[[Level], Tensor], levels: Sequence[Level], rtol: float
) -> Outcome:
    """Every row taken from the first level at which the formula reports at most `rtol`, or from the last."""
    reported = torch.stack([formula(level) for level in levels])
    good = reported <= rtol
    converged = good.any(dim=0)
    at = torch.where(converged, good.int().argmax(dim=0), len(levels) - 1)[None]
    true = torch.stack([level.true for level in levels])
    gradients = torch.tensor([2 * level.intervals for level in levels])
    return Outcome(case, name, rtol, reported.gather(0, at)[0], true.gather(0, at)[0], gradients[at[0]], converged)


def levels_of(case: Case) -> list[Level]:
    """All levels of all rows, from the gradients at the finest nodes."""
    finest = FIRST_INTERVALS
    while 4 * finest + 1 <= MAX_NODES:
        finest *= 2
    scores, integrand = nodes_of(case, 2 * finest)
    change = scores[:, -1] - scores[:, 0]
    levels: list[Level] = []
    intervals = FIRST_INTERVALS
    while intervals <= finest:
        levels.append(level_of(integrand, change, intervals, case.truth, levels[-1:]))
        intervals *= 2
    return levels


def level_of(integrand: Tensor, change: Tensor, intervals: int, truth: Tensor, previous: Sequence[Level]) -> Level:
    step = (integrand.shape[1] - 1) // (2 * intervals)
    nodes, middles = integrand[:, :: 2 * step], integrand[:, step :: 2 * step]
    cells = ((nodes[:, :-1] + nodes[:, 1:]) / 2 - middles) / intervals
    midpoint = middles.mean(dim=1)
    attribution = midpoint + cells.sum(dim=1) / 2
    squares = cells.square().sum(dim=2)
    difference = cells.sum(dim=1).norm(dim=1) / attribution.norm(dim=1)
    return Level(
        intervals,
        difference,
        previous[0].difference if previous else 2 * difference,
        squares.sum(dim=1).square() / squares.square().sum(dim=1),
        (attribution.sum(dim=1) - change).abs() / change.abs(),
        true_error(attribution, truth),
    )


def nodes_of(case: Case, intervals: int) -> tuple[Tensor, Tensor]:
    """Scores (rows, nodes) and integrand Δ ⊙ 2u ∇f (rows, nodes, D) at t = u², u = 0, 1/n, ..., 1."""
    block = case.block(IntegratedGradients())
    u = torch.arange(intervals + 1, dtype=torch.float64) / intervals
    start = block.reference(None)
    delta = block.inputs - start
    points = start[:, None].lerp(block.inputs[:, None], u.square().float()[:, None])
    scores, gradients = block.gradients(points)
    return scores.double(), (gradients * delta[:, None]).double() * (2 * u)[:, None]


# --- tables ---------------------------------------------------------------------------------------


def adopted_table(outcomes: Sequence[Outcome]) -> Table:
    rows = [
        (
            outcome.case.name, outcome.case.score, outcome.case.origin, outcome.rtol, outcome.coverage,
            *(outcome.ratio(quantile) for quantile in (0.05, 0.5, 0.95)),
            outcome.mean_gradients, outcome.true_p95, int((~outcome.converged).sum()),
        )
        for outcome in outcomes
        if outcome.formula == ADOPTED
    ]  # fmt: skip
    columns = {"network": "", "score": "", "baseline": "", "rtol": "", "covered": ".1%", "ratio p5": ".2f",
               "ratio p50": ".2f", "ratio p95": ".1f", "gradients": ".1f", "true error p95": ".2%",
               "not converged": "d"}  # fmt: skip
    note = (
        "Integrated gradients against 2048 intervals. covered: share of rows whose true relative error is at "
        "most 1.25 times the reported one; ratio: reported / true; gradients: mean per row."
    )
    return Table("The error bar of the nested rule", columns, rows, note)


def formula_table(outcomes: Sequence[Outcome]) -> Table:
    rows = []
    names = dict.fromkeys(outcome.formula for outcome in outcomes)
    for kinked, rtol, name in product((True, False), RTOLS, names):
        some = [o for o in outcomes if (o.case.kinked, o.rtol, o.formula) == (kinked, rtol, name)]
        if name != CAUTIOUS or not kinked:
            rows.append((name, "kinked" if kinked else "smooth", rtol, *summary(some)))
    columns = {"formula": "", "networks": "", "rtol": "", "covered, worst": ".1%", "covered, mean": ".1%",
               "median ratio, typical": ".2f", "median ratio, largest": ".1f", "gradients": ".1f",
               "true error p95, worst": ".2%"}  # fmt: skip
    note = "Every row stops by the formula's own word. worst, typical, largest: over networks, scores, baselines."
    return Table("Formulas compared", columns, rows, note)


def summary(outcomes: Sequence[Outcome]) -> tuple[Any, ...]:
    covered = [outcome.coverage for outcome in outcomes]
    ratios = [outcome.ratio(0.5) for outcome in outcomes]
    gradients = [outcome.mean_gradients for outcome in outcomes]
    return (
        min(covered), sum(covered) / len(covered), median(ratios), max(ratios),
        sum(gradients) / len(gradients), max(outcome.true_p95 for outcome in outcomes),
    )  # fmt: skip


if __name__ == "__main__":
    main()
