"""Expected gradients: how many draws an accuracy takes, by the size and the number of the replicates."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from scripts.benchmarks.bench_cases import Case, background, case_of, share_covered, true_error
from scripts.benchmarks.benchlib import Table
from xattr_cli.engines.path.expected_gradients import ExpectedGradients
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.numerics.paths.sampling import draw_replicates

__all__ = ["sampling_tables"]

NETWORKS = ("relu_cnn_maxpool", "gelu_mlp", "gru")
BACKGROUND = 64
SIZES = (8, 16, 32, 64, 128)
REPLICATES = (4, 8)
RTOLS = (0.1, 0.05)
DRAWS_PER_ROW = 1024
TARGET_ERROR = 0.1
SEED = 1
PATH_RTOL = 0.002


def sampling_tables(rows: int) -> list[Table]:
    """Both tables, for a background of 64 digits."""
    cases = [case_of(name, rows) for name in NETWORKS]
    samples = background(BACKGROUND)
    truths = {case.name: expectation(case, samples) for case in cases}
    return [efficiency_table(cases, samples, truths), engine_table(cases, samples, truths)]


def expectation(case: Case, samples: Tensor) -> Tensor:
    """(rows, D): mean over the background of accurate integrated gradients."""
    engine = IntegratedGradients(rtol=PATH_RTOL, max_nodes=1025)
    total = torch.zeros(len(case.images), case.images[0].numel(), dtype=torch.float64)
    for sample in samples:
        total += case.explain(engine, baseline=sample.expand_as(case.images)).attribution
    return total / len(samples)


def efficiency_table(cases: list[Case], samples: Tensor, truths: dict[str, Tensor]) -> Table:
    """Without stopping: the draws that a root-mean-square error takes."""
    columns = {"network": "", "draws per replicate": "d", "draws for an error of 10 %": ".0f",
               "95th percentile of the rows": ".0f"}  # fmt: skip
    rows = []
    for case, size in product(cases, SIZES):
        needed = size * mean_square_error(case, samples, truths[case.name], size) / TARGET_ERROR**2
        rows.append((case.name, size, float(needed.mean()), float(needed.quantile(0.95))))
    note = (
        f"Background of {BACKGROUND} digits. Draws per row whose mean map has a root-mean-square relative error "
        "of 10 %, from the error of single replicates: less than one where it is more accurate already."
    )
    return Table("Expected gradients: what draws are worth", columns, rows, note)


def mean_square_error(case: Case, samples: Tensor, truth: Tensor, size: int) -> Tensor:
    """(rows,) mean squared relative error of a single replicate of `size` draws."""
    count = DRAWS_PER_ROW // size
    rows = len(case.images)
    draws = draw_replicates(SEED, range(rows), first=0, count=count, size=size, background=len(samples))
    block = case.block(ExpectedGradients())
    inputs, flat = block.inputs[:, None], samples.flatten(1)
    total = torch.zeros(rows, dtype=torch.float64)
    for replicate in range(count):
        start = flat[torch.from_numpy(draws.draw[:, replicate])]
        t = torch.from_numpy(draws.t[:, replicate]).float()
        points = start.lerp(inputs.expand_as(start), t[:, :, None])
        found = ((inputs - start) * block.gradients(points)[1]).mean(dim=1)
        total += true_error(found, truth).square()
    return total / count


def engine_table(cases: list[Case], samples: Tensor, truths: dict[str, Tensor]) -> Table:
    """The engine as it is, with other defaults."""
    columns = {"network": "", "rtol": "", "replicate_size": "d", "replicates": "d", "gradients": ".0f",
               "true error p50": ".1%", "true error p95": ".1%", "covered": ".1%", "ratio p50": ".2f",
               "not converged": "d"}  # fmt: skip
    rows = []
    for case, rtol, size, replicates in product(cases, RTOLS, SIZES, REPLICATES):
        engine = ExpectedGradients(rtol=rtol, replicate_size=size, replicates=replicates)
        found = case.explain(engine, background=samples)
        error = true_error(found.attribution, truths[case.name])
        rows.append((
            case.name, rtol, size, replicates, float(found.evaluations.double().mean()),
            float(error.median()), float(error.quantile(0.95)), share_covered(error, found.relative_error),
            float((found.relative_error / error).median()), int((found.status != 0).sum()),
        ))  # fmt: skip
    note = f"Background of {BACKGROUND} digits; columns as above."
    return Table("Expected gradients: the engine by its replicates", columns, rows, note)
