"""Which ranking of the inputs knows what a network can do without? Intrinsic contributions against the rest.

Redoes the comparison of the paper: for every dataset and seed a three-layer ReLU network is trained, its inputs
are ranked, and every ranking is judged by PGU: how far the prediction moves while the least important inputs are
set to zero, one after the other, lower is better; and by the same gap when they lose only what they originate
themselves, and their effects follow. What lies finished in the folder is not computed again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from scripts.benchmarks.benchlib import Table
from scripts.networks.icc_data import DATASETS, Dataset
from scripts.papers.icc.icc_claims import PAPER, Outcomes, noise_claim, paper_claim, rival_claim
from scripts.papers.icc.icc_outcome import NAMES, Outcome, outcome
from scripts.papers.paper_jobs import claim_table, mean_of

__all__ = ["tables"]

SEEDS, SAMPLES = 5, 4096
QUICK = ("synthetic-zx",)


def tables(folder: Path, quick: bool) -> list[Table]:
    """All datasets and seeds."""
    seeds, samples = (1, 512) if quick else (SEEDS, SAMPLES)
    outcomes: dict[str, list[Outcome]] = {}
    for name in QUICK if quick else DATASETS:
        for seed in range(seeds):
            found = outcome(DATASETS[name](seed), seed, folder / name / str(seed), samples)
            outcomes.setdefault(name, []).append(found)
            best = min(found.pgu, key=lambda kind: found.pgu[kind])
            told = f"{name}, seed {seed}: R² {found.r2:.2f}, best ranking {NAMES[best]}"
            print(told, file=sys.stderr, flush=True)
    draw(outcomes, folder / "pgu.png")
    title = f"Which ranking knows what a network can do without? {len(outcomes)} datasets, {seeds} seeds"
    return [
        claim_table(title, [paper_claim(outcomes), noise_claim(outcomes), rival_claim(outcomes)]),
        _pgu_table(outcomes),
        _wins_table(outcomes),
        _noise_table(outcomes),
        *(_contributions_table(DATASETS[name](0), runs) for name, runs in outcomes.items()),
    ]


# --- tables ---------------------------------------------------------------------------------------


def _tenfold(values: Sequence[float]) -> str:
    return mean_of([10 * value for value in values])


def _pgu_table(outcomes: Outcomes) -> Table:
    return Table(
        "PGU × 10, lower is better",
        {"ranking": "", **dict.fromkeys(outcomes, ""), "paper, Auto-MPG": ".2f"},
        [
            [title, *(_tenfold([one.pgu[name] for one in runs]) for runs in outcomes.values()), PAPER.get(name)]
            for name, title in NAMES.items()
        ],
        note="Mean ± standard deviation over seeds (network, split, flow and draws change). Inputs and outcome "
        "are standardised, so PGU is in standard deviations of the outcome, a mean over k = 1..d replaced inputs; "
        "zero is the mean of an input. The paper does not say in which units its numbers are: compare orders.",
    )


def _noise_table(outcomes: Outcomes) -> Table:
    return Table(
        "The same in the noise × 10, lower is better",
        {"ranking": "", **dict.fromkeys(outcomes, "")},
        [
            [title, *(_tenfold([one.noise_gap[name] for one in runs]) for runs in outcomes.values())]
            for name, title in NAMES.items()
            if name != "local_ig"
        ],
        note="Not in the paper. Instead of an input, the noise of its own is set to its median (as the fitted "
        "flow recovers it), and what the input causes follows. PGU with zeros asks what the network reads, where "
        "Sobol' indices and gradients are at home; this asks what originates the variation, where contributions "
        "are.",
    )


def _wins_table(outcomes: Outcomes) -> Table:
    """How often ICC is at least as good as each other ranking, seed by seed."""
    rows = []
    for name, title in NAMES.items():
        if name != "icc":
            cells = [
                f"{sum(one.pgu['icc'] <= one.pgu[name] + 1e-9 for one in runs)} of {len(runs)}"
                for runs in outcomes.values()
            ]
            rows.append([title, *cells])
    columns = {"as": "", **dict.fromkeys(outcomes, "")}
    return Table("Seeds in which the topological ICC is at least as good by PGU", columns, rows)


def _contributions_table(data: Dataset, runs: Sequence[Outcome]) -> Table:
    kinds = [kind for kind in NAMES if kind in runs[0].rankings]
    shares = {
        kind: np.mean([one.rankings[kind] / one.rankings[kind].sum() for one in runs], axis=0) for kind in kinds
    }
    return Table(
        f"Shares of importance: {data.name} (R² {np.mean([one.r2 for one in runs]):.2f})",
        {"input": "", **{NAMES[kind]: ".3f" for kind in kinds}},
        [[column, *(float(shares[kind][i]) for kind in kinds)] for i, column in enumerate(data.columns)],
        note=f"{data.story[0].upper()}{data.story[1:]}. Each column sums to 1; mean over seeds.",
    )


def draw(outcomes: Outcomes, path: Path) -> None:
    """Both gaps of every ranking: a point per seed, a bar at their mean."""
    figure, axes = plt.subplots(
        2, len(outcomes), figsize=(2.4 * len(outcomes) + 1.5, 6), sharey=True, squeeze=False, layout="constrained"
    )
    for line, (field, label) in zip(axes, (("pgu", "PGU × 10"), ("noise_gap", "in the noise × 10")), strict=True):
        for axis, (name, runs) in zip(line, outcomes.items(), strict=True):
            for place, kind in enumerate(NAMES):
                found = [10 * getattr(one, field)[kind] for one in runs if kind in getattr(one, field)]
                colour = "C3" if kind.startswith("icc") else "C0"
                axis.plot(found, [place] * len(found), "o", color="0.7", markersize=4)
                axis.plot(np.mean(found or [np.nan]), place, "|", color=colour, markersize=16, mew=3)
            axis.set_title(name, fontsize=9)
            axis.set_xlabel(label)
    axes[0, 0].set_yticks(range(len(NAMES)), NAMES.values())
    axes[0, 0].invert_yaxis()
    figure.savefig(path, dpi=110)
    plt.close(figure)
