"""Are the standard errors of contributions honest? How often the exact value lies within two of them.

Example: python -m scripts.benchmarks.bench_icc_errors --replicates 100
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from scripts.benchmarks.benchlib import ROOT, Table, publish, versions

sys.path.append(str(ROOT / "tests"))
from helpers.causal_problems import TABLE, Problem, contributions

NAMES = ("shapley", "topological", "first_order", "total")
CERTAIN = ("exclusive or", "and")
"""Balanced draws of fair bits leave nothing to err: the standard error is 0, and the value exact."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--replicates", type=int, default=100, help="studies per case, of a seed each")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table(
        "Exact values within ± 2 standard errors",
        {"case": "", "estimator": "", "draws": ",d", **dict.fromkeys(NAMES, ".0%"), "all of them": ".1%"},
        list(_rows(options.replicates)),
        f"Of {options.replicates} studies of 8 replicates each; mean over nodes. Honest errors cover 90–99 %.",
    )
    publish("icc_standard_errors", {**versions("torch"), "studies": options.replicates}, [table])


def _rows(studies: int) -> Iterator[Sequence[Any]]:
    for case, problem in TABLE.items():
        if case not in CERTAIN:
            for exact in (True, False):
                for draws in (2**10, 2**12, 2**15):
                    found = _coverage(problem, exact, draws, studies)
                    shares = [found.get(name) for name in NAMES]
                    every = float(np.mean(list(found.values())))
                    yield case, "all subsets" if exact else "walk", draws, *shares, every


def _coverage(problem: Problem, exact: bool, draws: int, studies: int) -> dict[str, float]:
    """Name -> share of nodes and studies whose interval holds the exact value."""
    inside: dict[str, list[np.ndarray]] = {}
    for seed in range(studies):
        found = contributions(problem.function, problem.parents, exact=exact, draws=draws // 8, seed=seed)
        for name, value in problem.exact.items():
            share = found.shares[name]
            error = np.abs(share.value[:, 0].numpy() - value)
            inside.setdefault(name, []).append(error <= 2 * share.standard_error[:, 0].numpy() + 1e-6)
    return {name: float(np.mean(parts)) for name, parts in inside.items()}


if __name__ == "__main__":
    main()
