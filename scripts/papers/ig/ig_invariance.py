"""Implementation invariance: two networks that are one function, and methods that tell them apart; and baselines.

The pair of the paper's figure 7, f = ReLU(ReLU(x₁) − 1 − ReLU(x₂)) and g = ReLU(ReLU(x₁ − 1) − ReLU(x₂)), and a
family of pairs like it with random constants.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from scripts.benchmarks.benchlib import Table
from scripts.networks import train_digits
from scripts.papers.paper_jobs import Claim, claim_table, rank_correlation, run_sections

__all__ = ["PAIRED", "pair", "tables"]

POINT = (3.0, 1.0)
PAIRED = ("f", "g")
METHODS = ("integrated gradients", "DeepLIFT (rescale)", "LRP (z rule)")
RANDOM_PAIRS = 200
DRAWS, DIGITS = 8, 60
APART = 1e-3


def pair(which: str, shift: float = 1.0, one: float = 1.0, other: float = 1.0) -> nn.Sequential:
    """f = ReLU(ReLU(a x₁) − s − ReLU(b x₂)), or g = ReLU(ReLU(a x₁ − s) − ReLU(b x₂)): alike for s ≥ 0.

    The outer ReLU is where both agree; between, f subtracts what g has subtracted within.
    """
    first, second = nn.Linear(2, 2), nn.Linear(2, 1)
    inside, outside = (0.0, shift) if which == "f" else (shift, 0.0)
    with torch.no_grad():
        first.weight.copy_(torch.diag(torch.tensor([one, other])))
        first.bias.copy_(torch.tensor([-inside, 0.0]))
        second.weight.copy_(torch.tensor([[1.0, -1.0]]))
        second.bias.fill_(-outside)
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU()).eval()


def tables(folder: Path, quick: bool) -> list[Table]:
    """The pair of the paper, random ones, and baselines drawn at random."""
    rows = {which: _maps(folder, which, torch.tensor([POINT])) for which in PAIRED}
    apart = _random_pairs(folder, 20 if quick else RANDOM_PAIRS)
    drawn = _baselines(folder / "digits", 3 if quick else DRAWS, 12 if quick else DIGITS)
    return [
        claim_table(
            "Implementation invariance, and the choice of a baseline",
            [*_claims(rows, apart), _baseline_claim(*drawn)],
        ),
        _pair_table(rows, apart),
        _baseline_table(*drawn),
    ]


def _maps(folder: Path, which: str, points: Tensor, constants: Sequence[float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """(methods, points, 2): two by a job, and LRP."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "points.npz", X=points.numpy())
    kwargs = dict(zip(("shift", "one", "other"), map(float, constants), strict=True))
    job = {
        "model": {
            "kind": "python",
            "factory": "scripts.papers.ig.ig_invariance:pair",
            "kwargs": {"which": which, **kwargs},
        },
        "dataset": {"kind": "arrays", "path": "points.npz"},
        "score": "raw",
        "engines": {"integrated_gradients": {"rtol": 1e-3}, "deeplift": {}},
    }
    with run_sections(folder, job, which) as results:
        ours = [results.engine(name).attribution(slice(None)) for name in ("integrated_gradients", "deeplift")]
    return np.stack([*ours, relevance(pair(which, *constants), points)])


@torch.no_grad()
def relevance(network: nn.Sequential, points: Tensor) -> np.ndarray:
    """(points, 2) layer-wise relevance of a pair's network: each unit shares out what it is given by a_i w_ij.

    What biases take is shared out with the rest, so that relevance adds up to the score, as in the paper's figure.
    """
    first, _, second, _ = network
    hidden = first(points).relu()
    passed = hidden * second.weight[0]
    shared = network(points) * passed / passed.sum(dim=1, keepdim=True)
    inner = points[:, None] * first.weight
    return np.asarray((shared[:, :, None] * inner / inner.sum(dim=2, keepdim=True)).sum(dim=1))


def _random_pairs(folder: Path, count: int) -> np.ndarray:
    """(methods, count) distance between the maps of f and g, relative to that of f, where both are above 0."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count // 20):
        constants = rng.uniform(0.5, 2, 3)
        points = torch.from_numpy(rng.uniform(0, 4, (400, 2)).astype(np.float32))
        with torch.no_grad():
            points = points[pair("f", *constants)(points)[:, 0] > 0.1][:20]
        f, g = (_maps(folder, which, points, constants) for which in PAIRED)
        found.append(np.linalg.norm(f - g, axis=2) / np.linalg.norm(f, axis=2))
    return np.concatenate(found, axis=1)


def _claims(rows: dict[str, np.ndarray], apart: np.ndarray) -> list[Claim]:
    told = "; ".join(
        f"{name}: {_told(rows['f'][place, 0])} and {_told(rows['g'][place, 0])}"
        for place, name in enumerate(METHODS)
    )
    differ = (apart > APART).mean(axis=1)
    invariant = bool(differ[0] == 0)
    broken = bool(differ[1] > 0 and differ[2] > 0)
    return [
        Claim(
            "Integrated gradients are the same for two implementations of one function; DeepLIFT and LRP are not",
            f"at (3, 1), f and g: {told}. Of {apart.shape[1]} points of random pairs maps differ at "
            f"{differ[0]:.0%} (integrated gradients), {differ[1]:.0%} (DeepLIFT) and {differ[2]:.0%} (LRP), by "
            f"{np.median(apart[1]):.0%} and {np.median(apart[2]):.0%} in the middle",
            "yes" if invariant and broken else "in part" if invariant else "no",
            f"Two implementations of one function: DeepLIFT tells them apart at {differ[1]:.0%} of the points, "
            f"LRP at {differ[2]:.0%}, integrated gradients at {differ[0]:.0%}.",
        )
    ]


def _told(values: np.ndarray) -> str:
    return f"({values[0]:.2f}, {values[1]:.2f})"


def _pair_table(rows: dict[str, np.ndarray], apart: np.ndarray) -> Table:
    lines = [
        [name, *(_told(rows[which][place, 0]) for which in PAIRED), float((apart[place] > APART).mean()),
         float(np.median(apart[place]))]
        for place, name in enumerate(METHODS)
    ]  # fmt: skip
    columns = {"method": "", "f at (3, 1)": "", "g at (3, 1)": "", "points at which f and g differ": ".0%",
               "distance, median": ".0%"}  # fmt: skip
    note = (
        "f = ReLU(ReLU(x₁) − 1 − ReLU(x₂)), g = ReLU(ReLU(x₁ − 1) − ReLU(x₂)), baseline (0, 0), as in the paper's "
        f"figure 7; then {apart.shape[1]} points of pairs with random constants. LRP by a_i w_ij, without biases."
    )
    return Table("Two implementations of one function", columns, lines, note)


# --- baselines ------------------------------------------------------------------------------------


def _baselines(folder: Path, draws: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps of digits (1 + draws, count, 64) from black and noise, changes of the score, scores of the starts."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "model.pt").exists():
        train_digits.main(folder)
    maps, changes, starts = [], [], []
    for draw in range(-1, draws):
        baseline: dict[str, object] = {"kind": "zero"} if draw < 0 else {"kind": "uniform"}
        job = {
            "model": {"kind": "python", "factory": "xattr_cli.models.zoo:digits_cnn", "checkpoint": "model.pt"},
            "dataset": {"kind": "arrays", "path": "test.npz", "inputs": "X", "labels": "y", "limit": count},
            "score": "logit",
            "engines": {"integrated_gradients": {"baseline": baseline, "rtol": 0.02}},
            "compute": {"device": "cpu", "threads": 1, "seed": draw + 1},
        }
        with run_sections(folder, job, "digits") as results:
            engine = results.engine("integrated_gradients")
            maps.append(engine.attribution(slice(None)).reshape(count, -1))
            changes.append(engine.score_input - engine.score_baseline)
            starts.append(engine.score_baseline)
    return np.array(maps), np.array(changes), np.array(starts)


def _baseline_figures(maps: np.ndarray) -> dict[str, np.ndarray]:
    """(rows,) spread of a map over the draws, and rank correlations, of single draws and of their mean."""
    noise, rows = maps[1:], range(maps.shape[1])
    mean = noise.mean(axis=0)
    spread = np.linalg.norm(noise.std(axis=0, ddof=1), axis=1) / np.linalg.norm(mean, axis=1)
    half = len(noise) // 2
    return {
        "spread": spread,
        "two draws": np.array([rank_correlation(noise[0, r], noise[1, r]) for r in rows]),
        "two means": np.array([rank_correlation(noise[:half, r].mean(0), noise[half:, r].mean(0)) for r in rows]),
        "mean and black": np.array([rank_correlation(mean[r], maps[0, r]) for r in rows]),
    }


def _baseline_claim(maps: np.ndarray, changes: np.ndarray, starts: np.ndarray) -> Claim:
    found = {name: float(np.median(values)) for name, values in _baseline_figures(maps).items()}
    near = float(np.median(np.abs(starts[1:]) / np.abs(changes[1:])))
    return Claim(
        "A random picture will do as a baseline, as a black one does: several of them agree",
        f"{len(maps) - 1} noise pictures as baselines: a map's spread over them is {found['spread']:.0%} of its "
        f"size; rank correlation of two draws {found['two draws']:.2f}, of two means of {(len(maps) - 1) // 2} "
        f"{found['two means']:.2f}, of the mean with the map from black {found['mean and black']:.2f}; the score "
        f"of a noise picture is {near:.0%} of the change (black or noise are to have none)",
        "yes" if found["two draws"] > 0.8 else "in part" if found["two means"] > 0.8 else "no",
        f"One random baseline says little: maps vary by {found['spread']:.0%} over draws; two means of "
        f"{(len(maps) - 1) // 2} agree with {found['two means']:.2f}.",
    )


def _baseline_table(maps: np.ndarray, changes: np.ndarray, starts: np.ndarray) -> Table:
    rows = [
        [name, *(float(np.quantile(values, q)) for q in (0.1, 0.5, 0.9))]
        for name, values in _baseline_figures(maps).items()
    ]
    columns = {"figure": "", "10 % of rows below": ".2f", "median": ".2f", "90 %": ".2f"}
    digits = len(load_digits().target)
    note = (
        f"Digits CNN, {maps.shape[1]} held-out digits of {digits:,}, logit of the predicted class, "
        f"{len(maps) - 1} noise pictures each, drawn per digit; spread: standard deviation over the draws, "
        "relative to the mean map; the others are rank correlations of pixels."
    )
    return Table("Random baselines", columns, rows, note)
