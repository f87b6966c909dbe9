"""Integrated and expected Hessians where the interactions are known: simulated terms, exclusive or, credit.

Example: python -m scripts.papers.reproduce_interactions --seeds 5
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from PIL import Image

from scripts.benchmarks.benchlib import RESULTS, ROOT, Table, publish, versions
from scripts.papers.interactions.interactions_credit import credit_tables
from scripts.papers.interactions.interactions_ensemble import Ensemble, Recipe
from scripts.papers.interactions.interactions_removal import Plan, curves
from scripts.papers.interactions.interactions_report import (
    area_table,
    areas_of,
    claim_table,
    draw_curves,
    gain_table,
)
from scripts.papers.interactions.interactions_shapiq import difference_from_shapiq
from scripts.papers.interactions.interactions_simulation import FEATURES, REMOVALS, inputs_of
from scripts.papers.interactions.interactions_xor import xor_table

NAME = "reproduce_interactions"
QUICK = Plan(
    seeds=1, samples=600, functions=("product", "maximum"), removed=(0, 3, 10, 45), recipe=Recipe(epochs=20)
)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="data, terms and first weights (default: 5)")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of one thread each")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / NAME, help="for jobs, results and figures")
    parser.add_argument("--removals", nargs="+", choices=REMOVALS, default=REMOVALS, help="default: both")
    parser.add_argument("--resume", action="store_true", help="take the curves that an interrupted run has left")
    parser.add_argument("--quick", action="store_true", help="a small run that publishes nothing: does it work?")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    plan = QUICK if options.quick else Plan(seeds=options.seeds, removals=options.removals)
    options.folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    tables = tables_of(plan, options.folder, workers=options.workers, resume=options.resume)
    facts = versions("torch", "shapiq") | {
        "seeds": plan.seeds, "samples": plan.samples, "processes": options.workers,
        "minutes": round((time.perf_counter() - began) / 60, 1), "core minutes": round(_core_seconds() / 60, 1),
        "Shapley indices differ from shapiq's by at most": f"{_difference_from_shapiq():.0e}",
    }  # fmt: skip
    if options.quick:
        print("\n".join(table.markdown() for table in tables))
    else:
        publish(NAME, facts, tables)
        for removal in plan.removals:
            copy_figure(options.folder / f"{removal}.png", removal)
        copy_figure(options.folder / "credit" / "figures" / "interactions-integrated_hessians.png", "credit")


def tables_of(plan: Plan, folder: Path, *, workers: int, resume: bool) -> list[Table]:
    """All tables, the ones that answer most first; figures are left in `folder`."""
    began = time.perf_counter()

    def progress(text: str) -> None:
        print(f"{time.perf_counter() - began:5.0f} s  {text}", file=sys.stderr, flush=True)

    found = curves(plan, folder / "removal", workers=workers, resume=resume, progress=progress)
    (folder / "curves.json").write_text(json.dumps([asdict(curve) for curve in found]))
    for removal in plan.removals:
        draw_curves(removal, found, folder / f"{removal}.png")
    areas = areas_of(found)
    progress("exclusive or")
    xor = xor_table(plan.seeds, folder / "xor")
    progress("credit applicants")
    credit = credit_tables(plan.seeds, folder / "credit")
    return [
        claim_table(areas), *(gain_table(removal, areas) for removal in plan.removals), xor, *credit,
        area_table(areas),
    ]  # fmt: skip


def _difference_from_shapiq() -> float:
    """On ten samples and a network as they are compared above."""
    inputs = inputs_of(seed=0, samples=10)
    return difference_from_shapiq(Ensemble.initial(1, FEATURES, seed=0).network(0), inputs)


def _core_seconds() -> float:
    """Processor time of this process and its workers, whatever else the machine has had to do."""
    spent = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent)


def copy_figure(path: Path, name: str) -> None:
    """Leave a figure beside the tables, in as few bytes as its lines need."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(64).save(RESULTS / f"{NAME}_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
