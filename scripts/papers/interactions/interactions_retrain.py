"""Remove and retrain: what a network loses when the interactions that a method names are taken out of its data."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from scripts.benchmarks.benchlib import RESULTS, Table
from scripts.papers.interactions.interactions_ensemble import Ensemble, Recipe
from scripts.papers.interactions.interactions_removal import Plan, curves
from scripts.papers.interactions.interactions_report import (
    Areas,
    area_table,
    areas_of,
    claim_table,
    draw_curves,
    gain_table,
)
from scripts.papers.interactions.interactions_shapiq import difference_from_shapiq
from scripts.papers.interactions.interactions_simulation import FEATURES, inputs_of
from scripts.papers.paper_jobs import Claim
from scripts.papers.paper_jobs import claim_table as claims_of

__all__ = ["leading_claim", "tables"]

SEEDS = 5
QUICK = Plan(
    seeds=1, samples=600, functions=("product", "maximum"), removed=(0, 3, 10, 45), recipe=Recipe(epochs=20)
)


def tables(folder: Path, quick: bool) -> list[Table]:
    """All curves, the tables that answer most first; figures are left in `folder` and beside the results."""
    plan = QUICK if quick else Plan(seeds=SEEDS)
    began = time.perf_counter()

    def progress(text: str) -> None:
        print(f"{time.perf_counter() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    shutil.rmtree(folder / "removal", ignore_errors=True)  # of other code, perhaps
    found = curves(plan, folder / "removal", workers=os.cpu_count(), resume=False, progress=progress)
    (folder / "curves.json").write_text(json.dumps([asdict(curve) for curve in found]))
    areas = areas_of(found)
    for removal in plan.removals:
        draw_curves(removal, found, folder / f"{removal}.png")
        if not quick:
            shutil.copyfile(folder / f"{removal}.png", RESULTS / f"reproduce_interactions_{removal}.png")
    difference = difference_from_shapiq(Ensemble.initial(1, FEATURES, seed=0).network(0), inputs_of(0, samples=10))
    note = (
        f"{plan.seeds} seeds, {plan.samples} samples. Shapley indices differ from those of shapiq by at most "
        f"{difference:.0e}."
    )
    return [
        claims_of(
            "Remove and retrain: integrated and expected Hessians against the others", [leading_claim(areas)], note
        ),
        claim_table(areas),
        *(gain_table(removal, areas) for removal in plan.removals),
        area_table(areas),
    ]


def leading_claim(areas: Sequence[Areas]) -> Claim:
    """The paper's quantitative comparison, all functions and both ways of removing together."""
    verdicts = [row[5] for row in claim_table(areas).rows]
    holds, level, fails = (verdicts.count(word) for word in ("holds", "level", "fails"))
    return Claim(
        "Networks that lose the interactions named by integrated or expected Hessians lose most",
        f"one of both is ahead of all others in {holds} of {len(verdicts)} settings, level in {level}, behind in "
        f"{fails} (a plain Hessian leads there: the data reward to know the terms, not the sample)",
        "yes" if holds == len(verdicts) else "in part" if holds + level > fails else "no",
        f"Remove and retrain: integrated or expected Hessians lead in {holds} of {len(verdicts)} settings, are "
        f"level in {level}, behind in {fails}.",
    )
