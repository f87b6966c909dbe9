"""Secant cells against gradients: map errors at equal numbers, whole adaptive rules, and what a cell costs.

    python scripts/benchmarks/bench_secant.py [--rows 200] [--seed 0] [--quick]

Small networks are trained here, digits networks are those of the tests. Truth is exact between all breakpoints of
small ReLU networks, and else the midpoint rule with 4096 nodes; in float64, and without secants.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_wine, make_friedman1
from torch import Tensor, nn

from scripts.benchmarks.bench_cases import trapezoid
from scripts.benchmarks.benchlib import ROOT, Table, publish, versions
from scripts.benchmarks.untuned_networks import Untuned, exact_map
from xattr_cli.device import Rows
from xattr_cli.device.secant import SecantField, probe_secants, secants_of_call
from xattr_cli.models.zoo import mlp
from xattr_cli.numerics.cells.calibration import calibrate
from xattr_cli.numerics.cells.chains import PathCells
from xattr_cli.numerics.cells.secants import SecantRule, integrate_secants
from xattr_cli.numerics.cells.sums import sum_cells
from xattr_cli.numerics.paths.integrate import integrate, integrate_fixed
from xattr_cli.numerics.paths.quadrature import AdaptiveRule, fixed_rule
from xattr_cli.numerics.paths.straight import PowerWarp, StraightPath
from xattr_cli.numerics.paths.sweep import PathIntegral

sys.path.append(str(ROOT / "tests"))

from helpers.blocks import digits, scorer_of, trained

CELLS = (1, 2, 3, 4, 6, 8, 16)
WARPS = (1.0, 1.5, 2.0)
RTOLS = (0.05, 0.01, 0.001)
CALIBRATION_ROWS = 16
TRUTH_NODES = 4096
ROWS_PER_CALL = 512
REPETITIONS = 12
STRAIGHT = {nn.Flatten, nn.Linear, nn.ReLU}
"""Layers of networks whose gradient is constant between breakpoints."""


@dataclass(frozen=True)
class Net:
    """A network, the rows that are explained, and where their paths start."""

    name: str
    module: nn.Module
    inputs: Tensor
    start: Tensor
    smooth: bool = False

    def rows(self, dtype: torch.dtype) -> Rows:
        """With the predicted class of each, in some precision."""
        with torch.no_grad():
            outputs = self.module.to(dtype)(self.inputs.to(dtype))
        target = outputs.argmax(1) if outputs.shape[1] > 1 else torch.zeros(len(outputs), dtype=torch.int64)
        return Rows(self.inputs.flatten(1).to(dtype), {}, target, torch.arange(len(self.inputs)))

    def path(self, dtype: torch.dtype) -> StraightPath:
        """From the start to every input."""
        flat = self.inputs.flatten(1).to(dtype)
        return StraightPath(self.start.flatten(1).to(dtype).expand_as(flat).clone(), flat)

    @cached_property
    def truth(self) -> Tensor:
        """(rows, D) maps in float64."""
        rows, path = self.rows(torch.float64), self.path(torch.float64)
        if isinstance(self.module, nn.Sequential) and {*map(type, self.module)} <= STRAIGHT:
            self.module.float()
            case = Untuned(self.name, self.module, path.input, path.baseline, rows.target, piecewise=True)
            return exact_map(case)
        scorer = scorer_of(self.module, self.inputs.double(), rows=ROWS_PER_CALL)
        found = integrate_fixed(scorer.field(rows), path, fixed_rule("midpoint", TRUTH_NODES))
        self.module.float()
        return found.mean_gradient * path.delta

    def error(self, mean_gradient: Tensor, rows: slice = slice(None)) -> Tensor:
        """(rows,) relative L2 errors of maps."""
        maps, truth = (mean_gradient * self.path(torch.float32).delta[rows]).double(), self.truth[rows]
        return (maps - truth).norm(dim=1) / truth.norm(dim=1)


def small(name: str, data: tuple[np.ndarray, np.ndarray], outputs: int, seed: int, rows: int) -> Net:
    """A ReLU MLP 24-24 on standardised features, trained with Adam."""
    x = torch.tensor((data[0] - data[0].mean(0)) / data[0].std(0), dtype=torch.float32)
    y = torch.tensor(data[1])
    torch.manual_seed(seed)
    module = mlp(x.shape[1], [24, 24], outputs)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        found = module(x)
        loss = (
            nn.functional.cross_entropy(found, y.long())
            if outputs > 1
            else (found[:, 0] - y.float()).square().mean()
        )
        loss.backward()
        optimizer.step()
    return Net(f"ReLU MLP 24-24, {name}", module.eval().requires_grad_(False), x[:rows], torch.zeros_like(x[:1]))


def networks(rows: int, seed: int) -> Iterator[Net]:
    """Those of the table of METHODS and some more."""
    images = digits()[2][:rows]
    names = {
        "relu_cnn_maxpool": "digits CNN",
        "relu_mlp": "ReLU MLP 96-96",
        "gelu_mlp": "GELU MLP 96-96",
        "gru": "GRU 48",
    }
    for name, title in names.items():
        smooth = name in ("gelu_mlp", "gru")
        yield Net(title, trained(name), images, torch.zeros_like(images[:1]), smooth)
    cancer, wine = load_breast_cancer(), load_wine()
    yield small("breast cancer", (cancer.data, cancer.target), 2, seed, rows)
    yield small("wine", (wine.data, wine.target), 3, seed, rows)
    yield small("friedman1", make_friedman1(500, random_state=seed), 1, seed, rows)


def p95(errors: Tensor) -> float:
    return float(torch.quantile(errors, 0.95))


def placement_table(nets: Sequence[Net]) -> Table:
    """Errors of so many cells, and of as many gradients."""
    rows = []
    for net in nets:
        every = torch.arange(len(net.inputs))
        block, path = net.rows(torch.float32), net.path(torch.float32)
        scorer = scorer_of(net.module, net.inputs, rows=ROWS_PER_CALL)
        for cells in CELLS:
            count = torch.full_like(every, cells)
            found = [
                p95(
                    net.error(
                        sum_cells(
                            SecantField(scorer, block), path, every, PathCells.even(count), PowerWarp(w)
                        ).mean_gradient
                    )
                )
                for w in WARPS
            ]
            peers = [trapezoid(cells, 2.0), fixed_rule("gauss_legendre", cells)]
            others = [
                p95(net.error(integrate_fixed(scorer.field(block), path, rule).mean_gradient)) for rule in peers
            ]
            rows.append((net.name, cells, *found, *others))
    columns = {"network": "", "cells or gradients": "d", **{f"secant, t = u^{w:g}": ".2%" for w in WARPS},
               "trapezoid, t = u^2": ".2%", "Gauss-Legendre": ".2%"}  # fmt: skip
    return Table(
        "Map error, 95th percentile", columns, rows, "Relative L2 error; truth in float64, see the script."
    )


def judged(net: Net, rule: str, rtol: float, found: PathIntegral) -> tuple[object, ...]:
    error = net.error(found.mean_gradient)
    ratio = float((found.relative_error / error.clamp(min=1e-12)).median())
    covered = float((error <= 1.25 * found.relative_error + 1e-6).double().mean())
    exceeds = float((error > rtol + 1e-6).double().mean())
    return net.name, rtol, rule, float(found.evaluations.double().mean()), covered, ratio, exceeds


def adaptive_table(nets: Sequence[Net]) -> Table:
    """The whole rules, each by its own error bar."""
    rows = []
    for net in nets:
        block, path = net.rows(torch.float32), net.path(torch.float32)
        scorer = scorer_of(net.module, net.inputs, rows=ROWS_PER_CALL)
        some = torch.linspace(0, len(net.inputs) - 1, CALIBRATION_ROWS).long()
        first = StraightPath(path.baseline[some], path.input[some])
        for rtol in RTOLS:
            cautious = SecantRule(rtol, 1024, 6)
            known = calibrate(SecantField(scorer, block.take(some)), first, cautious)
            rule = SecantRule(rtol, 1024, known.cells, share=known.share)
            field = SecantField(scorer, block)
            calibrated = integrate_secants(replace(field, watching=known.watching), path, rule)
            rows.append(judged(net, "secant, calibrated on 16 rows", rtol, calibrated))
            rows.append(judged(net, "secant, cautious", rtol, integrate_secants(field, path, cautious)))
            gradients = AdaptiveRule(rtol, 1024, 6, 2.0)
            found = integrate(scorer.field(block), path, gradients, smooth=net.smooth)
            rows.append(judged(net, "gradient", rtol, found))
    columns = {"network": "", "rtol": "", "rule": "", "evaluations": ".1f", "covered": ".1%",
               "reported/true p50": ".2f", "true error above rtol": ".1%"}  # fmt: skip
    note = "covered: rows whose true error is at most 1.25 times the reported one; evaluations: mean per row."
    return Table("Adaptive rules, each by its own error bar", columns, rows, note)


def cost_table(nets: Sequence[Net]) -> Table:
    """Time of a call with secants over one with derivatives."""
    columns = {"network": "", "gradient, µs": ".1f", "cell, µs": ".1f", "ratio": ".2f", "taken for": "g"}
    note = "Processor time of one thread, in calls of 512 rows; the least of 12."
    return Table("Cost of a cell", columns, [cost_row(net) for net in nets], note)


def cost_row(net: Net) -> tuple[object, ...]:
    block, path = net.rows(torch.float32), net.path(torch.float32)
    scorer = scorer_of(net.module, net.inputs, rows=ROWS_PER_CALL)
    row = torch.arange(ROWS_PER_CALL) % len(net.inputs)
    points, targets = path.at(row, torch.rand(ROWS_PER_CALL)).take(slice(None)), [block.target[row]]
    by_gradient = timed(lambda: scorer.gradients_of_call(points, {}, targets, ROWS_PER_CALL))
    by_cell = timed(lambda: secants_of_call(scorer, points, {}, targets, ROWS_PER_CALL))
    probe = probe_secants(scorer, block.take(slice(0, 4)), path.baseline[:4])
    each = 1e6 / ROWS_PER_CALL
    return net.name, each * by_gradient, each * by_cell, by_cell / by_gradient, probe.cost


def timed(call: Callable[[], object]) -> float:
    """The least of some runs."""
    seconds = []
    for _ in range(REPETITIONS):
        began = time.thread_time()
        call()
        seconds.append(time.thread_time() - began)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="the tables of two networks are printed, not kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    nets = [*networks(options.rows, options.seed)]
    nets = [nets[0], nets[4]] if options.quick else nets
    tables = [placement_table(nets), adaptive_table(nets), cost_table(nets)]
    if options.quick:
        print("\n\n".join(map(str, tables)))
    else:
        publish("secant", {**versions("torch"), "rows": options.rows, "seed": options.seed}, tables)


if __name__ == "__main__":
    main()
