"""Exclusive or: where both inputs are 1 its attributions are zero, and only the interactions tell why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scripts.benchmarks.benchlib import Table
from scripts.papers.interactions.interactions_ensemble import HIDDEN, Recipe, train
from scripts.papers.interactions.interactions_product import explain, interactions
from scripts.papers.paper_jobs import Claim, claim_table, mean_of

__all__ = ["tables", "xor_table"]

SAMPLES, SEEDS = 4000, 5
RECIPE = Recipe(activation="gelu")  # smooth by itself, so that nothing is put in its place
CORNERS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])

FUNCTIONS: Mapping[str, tuple[Callable[[Tensor, Tensor], Tensor], float]] = {
    "exclusive or": (lambda a, b: a + b - 2 * a * b, -2.0),
    "inclusive or": (lambda a, b: a + b - a * b, -1.0),
    "never": (lambda a, b: 0 * a, 0.0),
}
"""Probability that it holds for two independent events of probability a and b, and its coefficient of a b."""


def tables(folder: Path, quick: bool) -> list[Table]:
    """The paper's example, and two functions beside it."""
    found = np.stack([_of_seed(seed, folder) for seed in range(1 if quick else SEEDS)])
    return [claim_table("Exclusive or: what attributions alone cannot tell", [_claim(found)]), xor_table(found)]


def _claim(found: np.ndarray) -> Claim:
    both = found[:, 0, -1]  # exclusive or at (1, 1)
    attributions, pair = np.abs(both[:, 1:3]).max(axis=1), both[:, 5]
    return Claim(
        "Where both inputs are 1 the attributions of an exclusive or vanish, and only interactions tell why",
        f"greatest |IG| {mean_of(attributions)}, Γ₁₂ + Γ₂₁ {mean_of(pair)} (exact: 0 and −1)",
        "yes" if attributions.max() < 0.1 and np.abs(pair + 1).max() < 0.1 else "no",
        f"Exclusive or: at (1, 1) attributions are {attributions.mean():.2f}, the interaction is "
        f"{pair.mean():.2f} (exact: 0 and −1).",
    )


def xor_table(found: np.ndarray) -> Table:
    """Attributions and interactions of networks that have learnt each of `FUNCTIONS` on the unit square.

    Arguments:
        found: (seeds, functions, corners, 6), as by `_of_seed`.
    """
    rows = []
    for number, (name, (function, product)) in enumerate(FUNCTIONS.items()):
        for corner, values in zip(CORNERS, found[:, number].swapaxes(0, 1), strict=True):
            if name != "exclusive or" and not corner.all():
                continue
            exact = product * float(corner.prod()) / 2 + 0.0  # no −0
            shown = [_with_spread(column) for column in values.T]
            rows.append((name, f"({corner[0]:.0f}, {corner[1]:.0f})", float(function(*corner)), *shown, exact))
    columns = {"function": "", "input": "", "exact f(x) − f(0)": ".0f", "network's": "", "IG₁": "", "IG₂": "",
               "Γ₁₁": "", "Γ₂₂": "", "Γ₁₂ + Γ₂₁": "", "exact Γ₁₂ + Γ₂₁": ".2f"}  # fmt: skip
    note = (
        "GELU networks 2-64-64-64-1, baseline (0, 0), mean ± standard deviation over seeds. At (1, 1) integrated "
        "gradients are zero for the exclusive or as for a function that uses neither input; the interactions tell "
        "them apart: each input raises the score on its own, and the pair takes it back."
    )
    return Table("Exclusive or: attributions and interactions", columns, rows, note)


def _of_seed(seed: int, folder: Path) -> np.ndarray:
    """(functions, corners, 6): score difference, IG of both inputs, Γ₁₁, Γ₂₂ and Γ₁₂ + Γ₂₁."""
    inputs = torch.rand(SAMPLES, 2, generator=torch.Generator().manual_seed(seed))
    labels = torch.stack([function(*inputs.T) for function, _ in FUNCTIONS.values()])
    ensemble, _ = train(inputs, labels, seed=seed, recipe=RECIPE)
    model = {"inputs": 2, "hidden": list(HIDDEN), "outputs": 1, "activation": RECIPE.activation}
    engines = {
        "integrated_gradients": {"baseline": {"kind": "zero"}, "rtol": 0.01},
        "integrated_hessians": {"baseline": {"kind": "zero"}, "rtol": 0.01},
    }
    every = []
    for number, name in enumerate(FUNCTIONS):
        place = folder / name.replace(" ", "_")
        with explain(place, ensemble.network(number), model, CORNERS, engines) as results:
            first, second = (results.engines[engine] for engine in engines)
            matrix = interactions(second).numpy()
            change = first.score_input - first.score_baseline
            pair = matrix[:, 0, 1] + matrix[:, 1, 0]
            maps = first.attribution(slice(None))
            every.append(np.column_stack([change, maps, matrix[:, 0, 0], matrix[:, 1, 1], pair]))
    return np.stack(every)


def _with_spread(values: np.ndarray) -> str:
    spread = values.std(ddof=1) if len(values) > 1 else 0.0
    return f"{values.mean():+.2f} ± {spread:.2f}"
