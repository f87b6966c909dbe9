"""Iris: four curves per class beside the thresholds of a decision tree; and the divisor of the covariance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from scripts.benchmarks.benchlib import Table
from scripts.networks.ace_networks import iris
from scripts.networks.ace_training import train_iris
from scripts.papers.ace.ace_job import SEEDS, run_effects
from scripts.papers.paper_jobs import Claim, claim_table, mean_of
from xattr_cli.numerics.interventions.moments import Moments
from xattr_cli.store.results.reader import Results

__all__ = ["Curves", "crossing", "tables", "taylor_error"]

CLASSES = ("setosa", "versicolor", "virginica")
PETALS = (2, 3)
SIZES = (20, 150, 1500)


@dataclass(frozen=True)
class Curves:
    """The effects of one network.

    Attributes:
        features: names.
        alpha: (features, alphas) values that they are set to.
        ace: (features, alphas, classes) average causal effect on the probability.
        accuracy: of the network.
    """

    features: tuple[str, ...]
    alpha: np.ndarray
    ace: np.ndarray
    accuracy: float

    @property
    def share_of_petals(self) -> float:
        """Of the summed mean |ACE|."""
        importance = np.abs(self.ace).mean(axis=(1, 2))
        return float(importance[[*PETALS]].sum() / importance.sum())


def tables(folder: Path, quick: bool) -> list[Table]:
    """Five networks, their curves, and what dividing by n or n − 1 does to them."""
    found = []
    for seed in range(1 if quick else SEEDS):
        own = folder / str(seed)
        own.mkdir(parents=True, exist_ok=True)
        found.append(_curves(own, seed, alphas=50 if quick else 1000))
    data = load_iris()
    scaled = (data.data - data.data.min(axis=0)) / np.ptp(data.data, axis=0)
    splits = {feature: _splits(scaled[:, feature], data.target) for feature in PETALS}
    draw(folder / "iris.png", found[0], splits)
    right = mean_of([100 * one.accuracy for one in found], ".1f")
    title = f"Iris, 4-8-3 ReLU, 1,000 values of every feature; {len(found)} networks, {right} % of 150 right"
    network = _network(folder / "0")
    return [claim_table(title, _claims(found, splits)), _range_table(found, splits), _divisor_table(network)]


def _curves(folder: Path, seed: int, alphas: int) -> Curves:
    accuracy = train_iris(folder, seed)
    dataset = {"kind": "table", "path": "iris.csv", "class_names": list(CLASSES)}
    engines = {"ace": {"alphas": alphas}}
    output = run_effects(folder, dataset, "iris", engines, plots=seed == 0, score="probability", target="all")
    with Results.open(output) as results:
        effects = results.effects["ace"]
        return Curves(effects.texts("features"), effects.values("alpha"), effects.values("ace"), accuracy)


def _network(folder: Path) -> nn.Module:
    network = iris()
    network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    return network.eval()


def _splits(values: np.ndarray, labels: np.ndarray) -> list[float]:
    tree = DecisionTreeClassifier(max_leaf_nodes=3, random_state=0).fit(values[:, None], labels).tree_
    return sorted(float(t) for t, left in zip(tree.threshold, tree.children_left, strict=True) if left >= 0)


def crossing(alpha: np.ndarray, curve: np.ndarray) -> float:
    """Where a curve (alphas,) first changes its sign: from there a feature speaks for a class, or against."""
    changes = np.flatnonzero(np.diff(np.sign(curve)))
    return float(alpha[changes[0] : changes[0] + 2].mean()) if len(changes) else float("nan")


def _claims(found: Sequence[Curves], splits: dict[int, list[float]]) -> list[Claim]:
    shares = [one.share_of_petals for one in found]
    ends = np.array([[(one.ace[f, 0, 0], one.ace[f, -1, 2]) for f in PETALS] for one in found])
    away = np.array([
        [[abs(crossing(one.alpha[feature], one.ace[feature, :, kind]) - splits[feature][place])
          for feature in PETALS] for place, kind in enumerate((0, 2))]
        for one in found
    ])  # fmt: skip
    setosa, virginica = away[:, 0].ravel(), away[:, 1].ravel()
    signs = float((ends > 0).mean())
    return [
        Claim(
            "Petal length and width carry the effect, sepals hardly any",
            f"petals have {mean_of(shares)} of the summed mean |ACE|",
            "yes" if min(shares) > 0.7 else "in part" if min(shares) > 0.5 else "no",
            f"Iris: petals carry {np.mean(shares):.0%} of the average causal effects, in all of {len(found)} "
            f"networks {min(shares):.0%} or more.",
        ),
        Claim(
            "Small petals speak for setosa, large ones for virginica",
            "effect at the lowest petal length and width on setosa, and at the highest on virginica: "
            + ", ".join(mean_of(column, "+.2f") for column in ends.reshape(len(found), -1).T)
            + f"; {signs:.0%} of them are above 0",
            "yes" if signs == 1 else "in part" if signs > 0.7 else "no",
        ),
        Claim(
            "The effects turn where a decision tree splits",
            "distance from where the curve is 0 to the tree's split, of a range of 1: virginica "
            f"{mean_of(virginica)}, setosa {mean_of(setosa)}; effects are measured from their mean over the "
            "range, so that a curve that falls early and then stays crosses 0 later than it falls",
            "yes" if away.max() < 0.15 else "in part" if virginica.max() < 0.15 else "no",
        ),
    ]


def _range_table(found: Sequence[Curves], splits: dict[int, list[float]]) -> Table:
    rows = []
    for feature, name in enumerate(found[0].features):
        ranges = [mean_of([float(np.ptp(one.ace[feature, :, kind])) for one in found]) for kind in range(3)]
        mean = mean_of([float(np.abs(one.ace[feature]).mean()) for one in found], ".3f")
        rows.append([name, *ranges, mean, ", ".join(f"{t:.2f}" for t in splits.get(feature, []))])
    columns = {"feature": "", **dict.fromkeys(CLASSES, ""), "mean |ACE|": "", "tree splits at": ""}
    note = "Mean ± standard deviation over networks; features are scaled to 0 … 1."
    return Table("Iris: range of the effect on the probability of each class", columns, rows, note)


# --- the divisor ----------------------------------------------------------------------------------


def _divisor_table(network: nn.Module) -> Table:
    """How far the second-order expansion is from the mean over the samples, by divisor and number of samples."""
    data = load_iris()
    scaled = ((data.data - data.data.min(axis=0)) / np.ptp(data.data, axis=0)).astype(np.float32)
    rng = np.random.default_rng(0)
    rows = []
    for size in SIZES:
        drawn = torch.from_numpy(scaled[rng.integers(0, len(scaled), size)] if size != 150 else scaled).double()
        for name, score in (("a quadratic", _quadratic), ("the network", _smooth(network))):
            rows.append([name, size, *(taylor_error(score, drawn, less) for less in (0, 1))])
    note = (
        "Greatest |second-order expansion − mean over the samples| / greatest |mean| with petal width set to 0, "
        ".1, …, 1. The expansion stands for the mean over the samples at hand, and their covariance has divisor "
        "n: with it quadratics are exact. The authors' code calls numpy.cov, which estimates another population's "
        "and divides by n − 1; what this adds is 1 / (n − 1) of the second-order term, below the error of the "
        "expansion itself on the network. So n stays."
    )
    columns = {"score": "", "samples": ",d", "divisor n (here)": ".1e", "divisor n − 1 (the authors)": ".1e"}
    return Table("The divisor of the covariance", columns, rows, note)


def _quadratic(x: torch.Tensor) -> torch.Tensor:
    return (x[..., 0] - x[..., 1]) ** 2 + x[..., 2] * x[..., 3] + x[..., 3]


def _smooth(network: nn.Module) -> object:
    """The probability of virginica, its ReLU as it is: the curvature is that of the softmax."""
    return lambda x: network.double()(x).softmax(-1)[..., 2]


def taylor_error(score, samples: torch.Tensor, less: int, feature: int = 3) -> float:  # type: ignore[no-untyped-def]
    """Of the expansion with divisor n − `less`, over a grid of values of a feature; samples (n, d) float64."""
    found, exact = [], []
    for alpha in torch.linspace(0, 1, 11, dtype=torch.float64):
        moved = samples.clone()
        moved[:, feature] = alpha
        moments = Moments.of(moved.numpy())
        covariance = torch.from_numpy(moments.scatter / (moments.count - less))
        centre = torch.from_numpy(moments.mean)
        hessian = torch.autograd.functional.hessian(score, centre)
        found.append(float(score(centre) + (hessian * covariance).sum() / 2))
        exact.append(float(score(moved).mean()))
    return float(np.abs(np.subtract(found, exact)).max() / np.abs(exact).max())


# --- the figure -----------------------------------------------------------------------------------


def draw(path: Path, found: Curves, splits: dict[int, list[float]]) -> None:
    """A panel per class, a curve per feature."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharey=True, layout="constrained")
    for kind, axis in enumerate(axes):
        for feature, name in enumerate(found.features):
            curve = found.ace[feature, :, kind]
            axis.plot(found.alpha[feature], curve, color=f"C{feature}", label=name.replace("_", " "))
            for threshold in splits.get(feature, []):
                axis.axvline(threshold, color=f"C{feature}", linewidth=0.8, linestyle=":")
        axis.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axis.set(title=CLASSES[kind], xlabel="value that the feature is set to (scaled)")
    axes[0].set_ylabel("average causal effect on the probability")
    axes[-1].legend(fontsize=8, title="dotted: splits of a tree", title_fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
