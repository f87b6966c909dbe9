"""Reported against true errors on networks that nobody tuned for, drawn and trained anew by a seed.

Example: python -m scripts.benchmarks.bench_untuned --seed 7 --networks 5
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scripts.benchmarks.benchlib import RESULTS, Table, publish, versions
from scripts.benchmarks.untuned_networks import KINDS, ROWS, Untuned, drawn, exact_map
from xattr_cli.device import Packing, Rows, Scorer
from xattr_cli.device.secant import SecantField, probe_secants
from xattr_cli.engines.path.integrated_gradients import FIRST_INTERVALS, IntegratedGradients
from xattr_cli.numerics.cells.calibration import calibrate
from xattr_cli.numerics.cells.secants import SecantRule, integrate_secants
from xattr_cli.numerics.paths.error_bar import ratio
from xattr_cli.numerics.paths.field import Field
from xattr_cli.numerics.paths.integrate import integrate
from xattr_cli.numerics.paths.quadrature import AdaptiveRule
from xattr_cli.numerics.paths.straight import StraightPath
from xattr_cli.numerics.paths.sweep import PathIntegral
from xattr_cli.registry import SCORES
from xattr_cli.samples import InputSpec, Layout, Status

RTOLS = (0.05, 0.01, 0.001)
RULES = ("gradient", "secant")
MEASURED = 16
"""Rows on which a job of a thousand judges its cells; what is reported is judged on others."""
MAX_NODES = 4096
ROUNDING = 2e-6
"""Of maps in float32: errors below it are none."""
WARP = IntegratedGradients().warp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first network of each kind")
    parser.add_argument("--networks", type=int, default=5, help="of each kind (default: 5)")
    parser.add_argument(
        "--rows", type=int, default=ROWS, help=f"of each network, that are judged (default: {ROWS})"
    )
    parser.add_argument(
        "--measured",
        type=int,
        default=MEASURED,
        help=f"of each network, before those that are judged (default: {MEASURED}, as of a job of 1,000)",
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES)
    parser.add_argument("--quick", action="store_true", help="print only, as with other rows than by default")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        line
        for kind in options.kinds
        for line in lines_of(
            [
                drawn(kind, options.seed + number, options.measured + options.rows)
                for number in range(options.networks)
            ],
            options.measured,
            options.rules,
        )
    ]
    columns = {"network": "", "rule": "", "rtol": ".1%", "rows": "", "true ≤ 1.25 × reported": ".1%",
               "reported / true, median": ".2f", "converged": ".1%", "of them beyond rtol": ".1%",
               "evaluations a row": ".1f"}  # fmt: skip
    note = (
        f"Networks drawn and trained by seeds {options.seed} to {options.seed + options.networks - 1}; references "
        "are exact between all breakpoints of piecewise linear ones, else Gauss's rule on 16,384 panels. Cells "
        f"are measured on {options.measured} other rows."
    )
    # what is published is of the usual rows alone: lines of several runs stand in one table
    if options.quick or (options.rows, options.measured) != (ROWS, MEASURED):
        print(Table("Networks that nobody tuned for", columns, lines, note).markdown())
    else:
        lines = sorted([*lines, *_kept(options.seed, options.kinds)], key=lambda line: KINDS.index(line[0]))
        found = Table("Networks that nobody tuned for", columns, lines, note)
        publish("error_bars_untuned", versions("torch") | {"seed": options.seed}, [found])


def _kept(seed: int, kinds: Sequence[str]) -> list[Any]:
    """Lines of other kinds that were published of the same seeds."""
    path = RESULTS / "error_bars_untuned.json"
    published = json.loads(path.read_text()) if path.exists() else {}
    if published.get("facts", {}).get("seed") != seed:
        return []
    return [line for line in published["tables"][0]["rows"] if line[0] not in kinds]


def lines_of(cases: Sequence[Untuned], measured: int, rules: Sequence[str]) -> Iterator[list[object]]:
    """One line for each rule and tolerance; of networks of one kind."""
    kind = cases[0].name
    truths = [exact_map(case) for case in cases]
    for rule in rules:
        for rtol in RTOLS:
            outcomes = [
                outcome(case, truth, rule, rtol, measured) for case, truth in zip(cases, truths, strict=True)
            ]
            reported, true, converged, evaluations = (torch.cat(each) for each in zip(*outcomes, strict=True))
            times = reported / true.clamp(min=ROUNDING)
            beyond = (true > rtol)[converged].double().mean() if converged.any() else torch.tensor(0.0)
            yield [kind, rule, rtol, len(true), float((true <= 1.25 * reported + ROUNDING).double().mean()),
                   float(times.median()), float(converged.double().mean()), float(beyond),
                   float(evaluations.double().mean())]  # fmt: skip


def outcome(
    case: Untuned, truth: Tensor, rule: str, rtol: float, measured: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(judged,) reported and true errors, whether converged, and evaluations, of rows that were not measured."""
    found = integrated(case, rule, rtol, measured)
    attribution = (found.mean_gradient * (case.inputs - case.baselines)).double()
    true = ratio(torch.linalg.vector_norm(attribution - truth, dim=1), torch.linalg.vector_norm(truth, dim=1))
    converged = found.status == Status.CONVERGED
    return found.relative_error[measured:], true[measured:], converged[measured:], found.evaluations[measured:]


def integrated(case: Untuned, rule: str, rtol: float, measured: int) -> PathIntegral:
    """By one of the rules, as a job does it."""
    spec = InputSpec("X", tuple(case.inputs.shape[1:]), np.dtype("float32"))
    scorer = Scorer(module=case.network, inputs=(spec,), layout=Layout((spec,)), score=SCORES.get(case.score)(),
                    device=case.inputs.device, dtype=torch.float32, packing=Packing(512))  # fmt: skip
    rows = Rows(case.inputs, {}, case.target, torch.arange(len(case.inputs)))
    path = StraightPath(case.baselines, case.inputs)
    with scorer.exact_arithmetic():
        cells = by_cells(scorer, rows, path, rtol, measured) if rule == "secant" else None
        if cells is not None:
            return cells
        return by_gradients(scorer.field(rows), path, rtol, smooth=case.smooth)


def by_gradients(field: Field, path: StraightPath, rtol: float, *, smooth: bool) -> PathIntegral:
    """Panels of gradients, as a job has them."""
    return integrate(field, path, AdaptiveRule(rtol, MAX_NODES, FIRST_INTERVALS, WARP), smooth=smooth)


def by_cells(scorer: Scorer, rows: Rows, path: StraightPath, rtol: float, measured: int) -> PathIntegral | None:
    """Secant cells, measured on the first rows as a job does it; None where a job falls back on gradients."""
    if not probe_secants(scorer, rows.take(slice(0, 2)), path.baseline[:2]).serves:
        return None
    some = slice(0, measured)
    first = StraightPath(path.baseline[some], path.input[some])
    cells = SecantRule(rtol, MAX_NODES, FIRST_INTERVALS, WARP)
    known = calibrate(SecantField(scorer, rows.take(some)), first, cells)
    rule = SecantRule(rtol, MAX_NODES, known.cells, WARP, known.share)
    return integrate_secants(SecantField(scorer, rows, watching=known.watching), path, rule)


if __name__ == "__main__":
    main()
