"""Expected gradients on networks that nobody tuned for: reported against true errors, and against plain sampling.

Example: python -m scripts.benchmarks.bench_expected --seed 7 --networks 2
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from scripts.benchmarks.benchlib import Table, publish, versions
from scripts.benchmarks.untuned_networks import Untuned, background_of, drawn
from xattr_cli.device import Packing, Rows, Scorer
from xattr_cli.numerics.backgrounds.expectation import PathExpectation, expected_path_gradient
from xattr_cli.numerics.backgrounds.gradients import gradient_over_background
from xattr_cli.numerics.backgrounds.rule import BackgroundRule
from xattr_cli.numerics.paths.field import Field
from xattr_cli.numerics.paths.integrate import integrate_fixed
from xattr_cli.numerics.paths.quadrature import fixed_rule
from xattr_cli.numerics.paths.sampling import SamplingRule
from xattr_cli.numerics.paths.straight import StraightPath
from xattr_cli.registry import SCORES
from xattr_cli.samples import InputSpec, Layout, Status

RTOLS = (0.05, 0.02)
KINDS = (
    *(f"ReLU MLP, {name}" for name in ("wine", "breast_cancer", "diabetes", "digits", "friedman1", "moons")),
    "Maxout", "SELU", "deep narrow ReLU", "graph network", "GELU", "tanh",
)  # fmt: skip
ROWS, BASELINES, NODES, MOST_DRAWS = 20, 48, 256, 2**16


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0, help="of the first network of each kind")
    parser.add_argument("--networks", type=int, default=2, help="of each kind (default: 2)")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--quick", action="store_true", help="print only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [line for kind in options.kinds for line in lines_of(kind, options.seed, options.networks)]
    columns = {"network": "", "rtol": ".0%", "rows": "", "true ≤ 1.25 × reported": ".1%",
               "reported / true, median": ".2f", "converged beyond rtol": ".1%", "gradients a row": ".0f",
               "by independent replicates": ".0f"}  # fmt: skip
    note = (
        f"Seeds {options.seed} to {options.seed + options.networks - 1}; a background of {BASELINES} rows of the "
        f"data; references are the midpoint rule with {NODES} nodes on the path from every baseline. The last "
        "column is the estimator for backgrounds too large to be taken as a whole, with replicates of all "
        "baselines, at the same tolerance."
    )
    found = Table("Expected gradients", columns, lines, note)
    if options.quick:
        print(found.markdown())
    else:
        publish("expected_gradients", versions("torch") | {"seed": options.seed}, [found])


def lines_of(kind: str, seed: int, networks: int) -> Iterator[list[object]]:
    """One line for each tolerance."""
    cases = [
        (drawn(kind, seed + number), background_of(kind, seed + number, BASELINES)) for number in range(networks)
    ]
    truths = torch.cat([truth(*case) for case in cases])
    for rtol in RTOLS:
        ours, theirs = ([estimate(*case, rtol, whole) for case in cases] for whole in (True, False))
        maps, reported, status = (
            torch.cat([getattr(each, name) for each in ours])
            for name in ("attribution", "relative_error", "status")
        )
        true = torch.linalg.vector_norm(maps.double() - truths, dim=1) / torch.linalg.vector_norm(truths, dim=1)
        spent = (torch.cat([each.evaluations for each in some]).double().mean() for some in (ours, theirs))
        beyond = (true > rtol)[status == Status.CONVERGED].double().mean()
        yield [kind, rtol, len(true), float((true <= 1.25 * reported).double().mean()),
               float((reported / true).median()), float(beyond), *map(float, spent)]  # fmt: skip


def scorer_of(case: Untuned) -> Scorer:
    spec = InputSpec("X", tuple(case.inputs.shape[1:]), np.dtype("float32"))
    return Scorer(module=case.network, inputs=(spec,), layout=Layout((spec,)), score=SCORES.get(case.score)(),
                  device=case.inputs.device, dtype=torch.float32, packing=Packing(1024))  # fmt: skip


def field_of(case: Untuned, row: Tensor) -> Field:
    """Of some rows, each as often as it is asked for."""
    return scorer_of(case).field(Rows(case.inputs[row], {}, case.target[row], torch.arange(len(row))))


def truth(case: Untuned, background: Tensor) -> Tensor:
    """(ROWS, D) float64."""
    row = torch.arange(ROWS).repeat_interleave(len(background))
    path = StraightPath(background.repeat(ROWS, 1), case.inputs[row])
    found = integrate_fixed(field_of(case, row), path, fixed_rule("midpoint", NODES))
    return (found.mean_gradient * path.delta).double().view(ROWS, len(background), -1).mean(dim=1)


def estimate(case: Untuned, background: Tensor, rtol: float, whole: bool) -> PathExpectation:
    """By the rule that takes a background as a whole, or by independent replicates."""
    row = torch.arange(ROWS)
    field, x = field_of(case, row), case.inputs[:ROWS]
    if whole:
        rule = BackgroundRule(rtol, MOST_DRAWS, seed=0)
        return gradient_over_background(field, x, background, row, case.target[:ROWS], rule, alike_in_context=True)
    sampling = SamplingRule(rtol, MOST_DRAWS, replicate_size=len(background), replicates=4, seed=0)
    return expected_path_gradient(field, x, background, row, sampling)


if __name__ == "__main__":
    main()
