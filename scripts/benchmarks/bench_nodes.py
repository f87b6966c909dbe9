"""What the rules of the package need on a path, beside fixed rules of a size that nobody can know.

Example: python -m scripts.benchmarks.bench_nodes
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from statistics import geometric_mean
from typing import Any

import torch
from torch import Tensor

from scripts.benchmarks.bench_cases import share_covered, trapezoid
from scripts.benchmarks.bench_untuned import MEASURED, by_cells, by_gradients
from scripts.benchmarks.benchlib import Table, publish, versions
from scripts.benchmarks.node_paths import CASES, Paths
from xattr_cli.numerics.paths.quadrature import FixedRule, fixed_rule
from xattr_cli.numerics.paths.sweep import PathIntegral

RTOL = 0.05
QUANTILE = 0.95
MOST_NODES = 160
QUICK = ("ReLU MLP", "GELU MLP")

FIXED: Mapping[str, Callable[[int], FixedRule]] = {
    "trapezoid in t": trapezoid,
    "trapezoid in u²": partial(trapezoid, power=2.0),
    "midpoint in t": partial(fixed_rule, "midpoint"),
    "Gauss–Legendre in t (captum)": partial(fixed_rule, "gauss_legendre"),
}
"""Name -> the rule of a number of nodes."""
GRADIENTS, CELLS = "adopted: 6 panels of gradients in u²", "adopted: secant cells in u²"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--rows", type=int, help="most rows of a network (default: 20 photographs, 60 or 100 others)"
    )
    parser.add_argument("--networks", nargs="+", choices=[*CASES], default=[*CASES])
    parser.add_argument("--quick", action="store_true", help="12 rows of two small networks; nothing is kept")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names, most = (QUICK, 12) if options.quick else (options.networks, options.rows)
    rows = {name: min(CASES[name][1], most or CASES[name][1]) for name in names}
    began = time.perf_counter()
    outcomes = {name: outcomes_of(CASES[name][0](count)) for name, count in rows.items()}
    tables = [needed_table(outcomes), honesty_table(outcomes)]
    if options.quick:
        print("\n".join(table.markdown() for table in tables))
        return
    facts = {**versions("torch"), "rows": "; ".join(f"{name} {count}" for name, count in rows.items())}
    publish("nodes", facts | {"minutes": round((time.perf_counter() - began) / 60, 1)}, tables)


@dataclass(frozen=True)
class Outcome:
    """What a rule takes on a network.

    Attributes:
        evaluations: mean per row; of a fixed rule, those of the smallest that is good enough.
        error: 95th percentile of the true ones.
        covered: share of rows whose true error is at most 1.25 times the reported one; None for fixed rules.
    """

    evaluations: float
    error: float
    covered: float | None = None


Outcomes = Mapping[str, Mapping[str, Outcome]]
"""Network -> rule -> outcome; a rule that does not serve the network has none."""


def outcomes_of(paths: Paths) -> dict[str, Outcome]:
    """Rule -> outcome."""
    began = time.perf_counter()
    smallest = {name: smallest_of(rule, paths) for name, rule in FIXED.items()}
    outcomes = {name: outcome for name, outcome in smallest.items() if outcome is not None}
    outcomes[GRADIENTS] = judged(by_gradients(paths.field, paths.path, RTOL, smooth=paths.smooth), paths)
    if paths.network is not None:
        integral = by_cells(paths.network.scorer, paths.network.rows, paths.path, RTOL, MEASURED)
        outcomes |= {} if integral is None else {CELLS: judged(integral, paths)}
    print(f"{paths.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return outcomes


def smallest_of(rule: Callable[[int], FixedRule], paths: Paths) -> Outcome | None:
    """Of the smallest number of nodes that is good enough; None if no number tried is."""
    nodes = 2
    while nodes <= MOST_NODES:
        error = worst(paths.error(paths.maps(rule(nodes))))
        if error <= RTOL:
            return Outcome(nodes, error)
        # an error far too large is not mended by one node more
        nodes = max(nodes + 1, int(nodes * min(error / RTOL / 2, 1.5)))
    return None


def judged(integral: PathIntegral, paths: Paths) -> Outcome:
    """Rows that stopped by their own error bars."""
    true = paths.error(integral.mean_gradient * paths.path.delta)
    evaluations = float((integral.evaluations - 1).double().mean())  # one is the score of the baseline
    return Outcome(evaluations, worst(true), share_covered(true, integral.relative_error))


def worst(errors: Tensor) -> float:
    return float(errors.quantile(QUANTILE))


# --- tables ----------------------------------------------------------------------------------------


def needed_table(outcomes: Outcomes) -> Table:
    columns = {"rule": "", **dict.fromkeys(outcomes, ".1f"), "× panels": ".2f"}
    rows = [
        (rule, *column(outcomes, rule, "evaluations"), times(outcomes, rule))
        for rule in (*FIXED, GRADIENTS, CELLS)
    ]
    note = (
        "Mean evaluations a row. Fixed rules: the smallest number of nodes whose maps are off by at most 5 % in "
        "95 % of the rows, which no user can know. Adopted rules: every row stops by its own error bar at rtol "
        "5 %. An evaluation of a cell costs more than a gradient (`make bench-secant`). Integrated gradients of "
        "the predicted logit from zero, or a black picture. Photographs are simulated from sketches of their "
        "gradients at 1,025 nodes (scripts/benchmarks/photo_reference.py), to the nearest of which nodes move: "
        "lengths are right within two percent. × panels: geometric mean over the networks. What was tried and not "
        "adopted is in nodes_tried.md."
    )
    return Table("Evaluations that an error of 5 % takes", columns, rows, note)


def honesty_table(outcomes: Outcomes) -> Table:
    columns = {"rule": "", "": "", **dict.fromkeys(outcomes, ".1%")}
    words = {"error": "true error, 95th percentile", "covered": "covered"}
    rows = [
        (rule, word, *column(outcomes, rule, key)) for rule in (GRADIENTS, CELLS) for key, word in words.items()
    ]
    note = "covered: share of rows whose true error is at most 1.25 times the reported one."
    return Table("Are the error bars honest?", columns, rows, note)


def column(outcomes: Outcomes, rule: str, key: str) -> list[Any]:
    return [getattr(of.get(rule), key, None) for of in outcomes.values()]


def times(outcomes: Outcomes, rule: str) -> float | None:
    """Geometric mean over the networks of what it takes over what the panels take."""
    pairs = zip(column(outcomes, rule, "evaluations"), column(outcomes, GRADIENTS, "evaluations"), strict=True)
    ratios = [ours / theirs for ours, theirs in pairs if ours is not None]
    return geometric_mean(ratios) if len(ratios) == len(outcomes) else None


if __name__ == "__main__":
    main()
