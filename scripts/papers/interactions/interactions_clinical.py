"""A clinical table told as the paper tells heart disease: main effects, interactions, and what partners change.

569 patients with a lump in the breast (scikit-learn's table): ten measurements of cell nuclei, each as mean,
standard error and worst of a picture; the explained score is the log-odds of a benign lump.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer
from torch import nn

from scripts.benchmarks.benchlib import Table
from scripts.networks.descent import descend
from scripts.papers.interactions.interactions_product import explain, interactions
from scripts.papers.paper_jobs import Claim, claim_table, mean_of
from xattr_cli.models.zoo import mlp
from xattr_cli.reports.drawing.style import styled, value_map
from xattr_cli.reports.gallery import plot_all

__all__ = ["Patients", "partner_slopes", "tables"]

SEEDS, HIDDEN = 5, [32, 32]
SHOWN = 10


@dataclass(frozen=True)
class Patients:
    """What one network makes of the held-out patients.

    Attributes:
        accuracy: on them.
        inputs: (patients, features), standardised.
        matrix: (patients, features, features) interactions.
    """

    accuracy: float
    inputs: np.ndarray
    matrix: np.ndarray

    @property
    def pairs(self) -> np.ndarray:
        """(patients, features, features) Γ + Γᵀ, nothing on the diagonal."""
        both = self.matrix + self.matrix.swapaxes(1, 2)
        both[:, range(both.shape[1]), range(both.shape[1])] = 0
        return np.asarray(both)

    @property
    def strength(self) -> np.ndarray:
        """(features, features) mean |Γ + Γᵀ|."""
        return np.asarray(np.abs(self.pairs).mean(axis=0))


def tables(folder: Path, quick: bool) -> list[Table]:
    """Networks of several seeds, and one figure of their main effects, pairs and partners."""
    names = tuple(str(name) for name in load_breast_cancer().feature_names)
    found = [_patients(folder / str(seed), seed, names, quick) for seed in range(1 if quick else SEEDS)]
    draw(found[0], names, folder / "clinical.png")
    right = mean_of([100 * one.accuracy for one in found], ".1f")
    title = f"Lumps in the breast: {len(found)} networks 30-32-32-1, {right} % of 143 held-out patients right"
    return [claim_table(title, _claims(found, names)), _main_table(found, names), _pair_table(found, names)]


def _patients(folder: Path, seed: int, names: tuple[str, ...], quick: bool) -> Patients:
    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(data.target))
    fit, held_out = order[143:], order[: 20 if quick else 143]
    scaled = ((data.data - data.data[fit].mean(axis=0)) / data.data[fit].std(axis=0)).astype(np.float32)
    inputs, labels = torch.from_numpy(scaled), torch.from_numpy(data.target.astype(np.float32))
    torch.manual_seed(seed)
    network = mlp(len(names), HIDDEN, 1, "relu")
    adam = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
    loss = nn.BCEWithLogitsLoss()
    seen = torch.from_numpy(fit)
    descend(
        adam,
        lambda part: loss(network(inputs[seen[part]])[:, 0], labels[seen[part]]),
        len(fit),
        epochs=30,
        batch=32,
    )
    network.eval()
    with torch.no_grad():
        right = ((network(inputs[held_out])[:, 0] > 0) == (labels[held_out] > 0.5)).float().mean()
    model = {"inputs": len(names), "hidden": HIDDEN, "outputs": 1, "activation": "relu"}
    engines = {"integrated_hessians": {"baseline": {"kind": "mean"}, "rtol": 0.02}}
    with explain(folder, network, model, inputs[held_out], engines, features=names) as results:
        matrix = interactions(results.engine("integrated_hessians")).numpy()
        if seed == 0:
            plot_all(results, folder / "figures", kinds=["interactions"])
    return Patients(float(right), scaled[held_out], matrix)


def partner_slopes(one: Patients, feature: int, partner: int) -> float:
    """How much the effect of a feature goes with its partner: rank correlation of Γ_ij + Γ_ji with x_i x_j."""
    product = one.inputs[:, feature] * one.inputs[:, partner]
    return float(spearmanr(one.pairs[:, feature, partner], product).statistic)


def _order(found: Sequence[Patients]) -> list[tuple[int, int]]:
    strength = np.mean([one.strength for one in found], axis=0)
    pairs = list(combinations(range(len(strength)), 2))
    return sorted(pairs, key=lambda pair: -strength[pair])


def _claims(found: Sequence[Patients], names: Sequence[str]) -> list[Claim]:
    upper = np.triu_indices(len(names), 1)
    between = [float(spearmanr(a.strength[upper], b.strength[upper]).statistic) for a, b in combinations(found, 2)]
    main = [np.abs(one.matrix[:, range(len(names)), range(len(names))]).mean(axis=0) for one in found]
    agree = [float(spearmanr(a, b).statistic) for a, b in combinations(main, 2)]
    leading = _order(found)[:SHOWN]
    redundant = [pair for pair in leading if abs(np.corrcoef(found[0].inputs[:, pair].T)[0, 1]) > 0.5]
    slopes = [partner_slopes(one, *pair) for one in found for pair in leading]
    same = float(np.mean([abs(slope) > 0.5 for slope in slopes]))
    weight = float(
        np.mean([one.strength[upper].sum() / sum(main_of) for one, main_of in zip(found, main, strict=True)])
    )
    return [
        Claim(
            "Main effects are what is known in the clinic",
            "leading: " + ", ".join(names[place] for place in np.argsort(-np.mean(main, axis=0))[:4])
            + f"; two networks agree on the order of all 30 with a rank correlation of {mean_of(agree or [1.0])}",
            "yes" if not agree or np.mean(agree) > 0.7 else "in part",
        ),
        Claim(
            "Interactions tell more: pairs change what a feature means, and networks agree on them",
            f"all pairs together have {weight:.2f} of the size of all main effects; rank correlation of the 435 "
            f"pairs' strengths between two networks {mean_of(between or [1.0])}; of the {SHOWN} strongest, "
            f"{len(redundant)} are of features that are correlated by more than .5 (two measurements of one "
            "thing)",
            "yes" if not between or np.mean(between) > 0.7 else "in part" if np.mean(between) > 0.4 else "no",
            f"Lumps in the breast: two networks agree on the strengths of 435 pairs with a rank correlation of "
            f"{np.mean(between or [1.0]):.2f}; pairs weigh {weight:.2f} of the main effects.",
        ),
        Claim(
            "Dependence plots coloured by the partner show how it changes the effect",
            f"of the {SHOWN} strongest pairs, the interaction follows the product of both values with a rank "
            f"correlation beyond ±.5 in {same:.0%} (clinical.png)",
            "yes" if same > 0.8 else "in part" if same > 0.5 else "no",
        ),
    ]  # fmt: skip


def _main_table(found: Sequence[Patients], names: Sequence[str]) -> Table:
    rows = []
    signed = np.array(
        [[spearmanr(one.matrix[:, k, k], one.inputs[:, k]).statistic for k in range(len(names))] for one in found]
    )
    sizes = np.array([np.abs(one.matrix[:, range(len(names)), range(len(names))]).mean(axis=0) for one in found])
    for place in np.argsort(-sizes.mean(axis=0))[:SHOWN]:
        rows.append([names[place], mean_of(sizes[:, place], ".3f"), mean_of(signed[:, place], "+.2f")])
    columns = {"feature": "", "mean |Γ_ii|, log-odds": "", "rank correlation with its value": ""}
    note = (
        "Mean ± standard deviation over networks; below 0: the larger, the less likely benign. Baseline: mean "
        "patient."
    )
    return Table("Lumps in the breast: main effects", columns, rows, note)


def _pair_table(found: Sequence[Patients], names: Sequence[str]) -> Table:
    rows = []
    for pair in _order(found)[:SHOWN]:
        first, second = pair
        strength = mean_of([float(one.strength[pair]) for one in found], ".3f")
        slope = mean_of([partner_slopes(one, *pair) for one in found], "+.2f")
        together = float(np.corrcoef(found[0].inputs[:, pair].T)[0, 1])
        among = sum(pair in _order([one])[: 2 * SHOWN] for one in found)
        rows.append([f"{names[first]} × {names[second]}", strength, f"{among} of {len(found)}", slope, together])
    columns = {
        "pair": "", "mean |Γ + Γᵀ|": "", f"among the first {2 * SHOWN}": "", "follows the product of values": "",
        "correlation of values": "+.2f",
    }  # fmt: skip
    return Table("Lumps in the breast: the strongest pairs", columns, rows)


@styled
def draw(one: Patients, names: Sequence[str], path: Path) -> None:
    """Main effects as in the paper's summary, then the three strongest pairs coloured by the partner."""
    figure = Figure(figsize=(11.5, 3.4), layout="constrained")
    panels = figure.subplots(1, 4, width_ratios=(1.3, 1, 1, 1))
    main = one.matrix[:, range(len(names)), range(len(names))]
    shown = np.argsort(-np.abs(main).mean(axis=0))[:8][::-1]
    rng = np.random.default_rng(0)
    for line, place in enumerate(shown):
        colours = one.inputs[:, place].clip(-2, 2)
        panels[0].scatter(
            main[:, place], line + rng.uniform(-0.25, 0.25, len(main)), c=colours, cmap=value_map(), s=4
        )
    panels[0].set_yticks(range(len(shown)), [names[place] for place in shown])
    panels[0].set(title="main effects, coloured by value", xlabel="Γ_ii, log-odds of benign")
    for panel, (first, second) in zip(panels[1:], _order([one])[:3], strict=True):
        points = panel.scatter(
            one.inputs[:, first],
            one.pairs[:, first, second],
            c=one.inputs[:, second].clip(-2, 2),
            cmap=value_map(),
            s=6,
        )
        panel.set(xlabel=f"{names[first]} (standardised)", ylabel="Γ + Γᵀ, log-odds")
        figure.colorbar(points, ax=panel, label=names[second])
    figure.savefig(path, dpi=110)
