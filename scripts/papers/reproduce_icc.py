"""Which ranking of the inputs knows what a network can do without? Intrinsic contributions against the rest.

Redoes the comparison of Saha et al. 2025 (arXiv 2505.09660): for every dataset and seed a three-layer ReLU
network is trained, its inputs are ranked by intrinsic causal contributions (averaged over topological orders and
as Shapley values), Sobol' indices, integrated gradients, input × gradient, gradient SHAP and permutation
importance, and every ranking is judged by PGU: how far the prediction moves while the least important inputs
are set to zero, one after the other, lower is better; and by the same gap when they lose only what they originate
themselves, and their effects follow. What lies finished in the folder is not computed again.

Example: python -m scripts.papers.reproduce_icc --seeds 5
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import yaml
from captum.attr import GradientShap
from torch import nn

from scripts.benchmarks.benchlib import ROOT, Table, publish, versions
from scripts.networks.icc_data import DATASETS, Dataset
from scripts.networks.icc_network import network
from scripts.papers.icc_noise_gap import noise_gaps
from xattr_cli.evaluation import EvaluationOptions, evaluate_file
from xattr_cli.job.config import parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import Results

PAPER = {"icc": 2.52, "integrated_gradients": 2.84, "gradient_shap": 2.78, "permutation": 2.76}
"""PGU × 10 on Auto-MPG, as the paper's table has it."""

NAMES = {
    "icc": "ICC, topological",
    "icc_shapley": "ICC, Shapley",
    "sobol": "Sobol', total",
    "integrated_gradients": "mean absolute IG",
    "input_x_gradient": "mean absolute input × gradient",
    "gradient_shap": "gradient SHAP",
    "permutation": "permutation importance",
    "local_ig": "IG of each row (a map, no index)",
    "(random)": "random order",
}


# --- the network --------------------------------------------------------------------------------


def trained(x: torch.Tensor, y: torch.Tensor, seed: int, path: Path) -> nn.Sequential:
    """The network of a checkpoint, trained if there is none."""
    net = network(x.shape[1])
    if path.exists():
        net.load_state_dict(torch.load(path, weights_only=True))
    else:
        net = train(x, y, seed)
        torch.save(net.state_dict(), path)
    return net.eval()


def train(x: torch.Tensor, y: torch.Tensor, seed: int, epochs: int = 100) -> nn.Sequential:
    """As the paper does: Adam, learning rate 3e-4, batches of 32, 100 epochs, squared error."""
    torch.manual_seed(seed)
    net = network(x.shape[1])
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-4)
    for _ in range(epochs):
        for part in torch.randperm(len(x)).split(32):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(x[part])[:, 0], y[part]).backward()
            optimizer.step()
    return net


def split(data: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Standardised training and test inputs and outcomes, 80 : 20."""
    order = np.random.default_rng(seed).permutation(len(data.inputs))
    cut = int(0.8 * len(order))
    fit, held_out = order[:cut], order[cut:]
    centre, spread = data.inputs[fit].mean(axis=0), data.inputs[fit].std(axis=0)
    x = ((data.inputs - centre) / spread).astype(np.float32)
    y = ((data.outcome - data.outcome[fit].mean()) / data.outcome[fit].std()).astype(np.float32)
    return x[fit], y[fit], x[held_out], y[held_out]


# --- rankings that the tool does not make -------------------------------------------------------


def permutation_importance(net: nn.Module, x: np.ndarray, y: np.ndarray, seed: int, times: int = 20) -> np.ndarray:
    """(features,) rise of the squared error when a column is shuffled, at least 0."""
    rng = np.random.default_rng(seed)

    def loss(inputs: np.ndarray) -> float:
        with torch.no_grad():
            return float(((net(torch.from_numpy(inputs))[:, 0].numpy() - y) ** 2).mean())

    rise = np.zeros(x.shape[1])
    for feature in range(x.shape[1]):
        for _ in range(times):
            shuffled = x.copy()
            shuffled[:, feature] = rng.permutation(x[:, feature])
            rise[feature] += (loss(shuffled) - loss(x)) / times
    return np.maximum(rise, 0)


def gradient_shap(net: nn.Module, x: np.ndarray, background: np.ndarray, seed: int) -> np.ndarray:
    """(features,) mean absolute value of captum's GradientShap, whose time grows with the square of the rows."""
    torch.manual_seed(seed)
    method, baselines = GradientShap(net), torch.from_numpy(background)
    maps = [
        method.attribute(part, baselines=baselines, n_samples=50, target=0)
        for part in torch.from_numpy(x).split(50)
    ]
    return np.abs(torch.cat(maps).detach().numpy()).mean(axis=0)


# --- one seed -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What one seed gave.

    Attributes:
        rankings: name -> (features,) importance.
        pgu: name -> mean over the test rows; also of the maps of each row, and of a random order.
        noise_gap: the same with the noise instead of the inputs; of the rankings and of a random order.
        r2: share of the outcome's variance that the network predicts on the test rows.
    """

    rankings: dict[str, np.ndarray]
    pgu: dict[str, float]
    noise_gap: dict[str, float]
    r2: float

    @classmethod
    def load(cls, path: Path) -> Outcome:
        """As `save` left it."""
        fields = json.loads(path.read_text())
        rankings = {name: np.array(values) for name, values in fields.pop("rankings").items()}
        return cls(rankings=rankings, **fields)

    def save(self, path: Path) -> None:
        """As JSON."""
        rankings = {name: values.tolist() for name, values in self.rankings.items()}
        path.write_text(json.dumps({**vars(self), "rankings": rankings}))


def outcome(data: Dataset, seed: int, folder: Path, samples: int) -> Outcome:
    """What `explain` finds, or found when it was run before."""
    path = folder / f"outcome-{samples}.json"
    if not path.exists():
        explain(data, seed, folder, samples).save(path)
    return Outcome.load(path)


def explain(data: Dataset, seed: int, folder: Path, samples: int) -> Outcome:
    """Train, rank and judge."""
    folder.mkdir(parents=True, exist_ok=True)
    fit_x, fit_y, test_x, test_y = split(data, seed)
    net = trained(torch.from_numpy(fit_x), torch.from_numpy(fit_y), seed, folder / "model.pt")
    with torch.no_grad():
        error = float(((net(torch.from_numpy(test_x))[:, 0].numpy() - test_y) ** 2).mean())
    for name, x in (("train", fit_x), ("test", test_x)):
        np.savetxt(folder / f"{name}.csv", x, delimiter=",", header=",".join(data.columns), comments="")
    rankings = {
        **measured(run(folder, data, "train", engines(data, samples), seed)),
        "permutation": permutation_importance(net, fit_x, fit_y, seed),
        "gradient_shap": gradient_shap(net, fit_x, fit_x[:200], seed),
    }
    judged = run(folder, data, "test", {"local_ig": LOCAL}, seed)
    found = evaluate_file(judged, EvaluationOptions(metrics=("pgu",), importances=rankings), trust=True)
    (pgu,) = found.measurements
    means = {name: one.mean for name, one in pgu.estimates(found.samples).items()}
    gaps = noise_gaps(folder / "train.icc.flow.safetensors", data.columns, net, test_x, rankings, seed)
    return Outcome(rankings, means, gaps, 1 - error / float(test_y.var()))


LOCAL = {"engine": "integrated_gradients"}


def engines(data: Dataset, samples: int) -> dict[str, object]:
    graph = {column: list(data.parents.get(column, [])) for column in data.columns}
    return {
        "icc": {"graph": graph, "samples": samples},
        "sobol": {"samples": samples},
        "integrated_gradients": {"baseline": {"kind": "zero"}},
        "input_x_gradient": {},
    }


def run(folder: Path, data: Dataset, part: str, chosen: dict[str, object], seed: int) -> Path:
    """Run a job on a part of the data, as its YAML says; the result file."""
    job = {
        "model": {
            "kind": "python",
            "factory": "scripts.networks.icc_network:network",
            "kwargs": {"inputs": len(data.columns)},
            "checkpoint": "model.pt",
        },
        "dataset": {"kind": "table", "path": f"{part}.csv", "columns": list(data.columns)},
        "engines": chosen,
        "compute": {"device": "cpu", "seed": seed},
        "output": {"path": f"{part}.h5"},
    }
    text = yaml.safe_dump(job, sort_keys=False)
    (folder / f"{part}.yaml").write_text(text)
    return Path(run_job(parse_job(text, folder=folder)).output)


def measured(path: Path) -> dict[str, np.ndarray]:
    """(features,) of every ranking that the tool makes."""
    with Results.open(path) as results:
        icc, sobol = results.effects["icc"], results.effects["sobol"]
        maps = {
            name: np.abs(results.engine(name).attribution(slice(None))).mean(axis=0)
            for name in ("integrated_gradients", "input_x_gradient")
        }
        return {
            "icc": icc.values("topological")[:, 0],
            "icc_shapley": icc.values("shapley")[:, 0],
            "sobol": sobol.values("total")[:, 0],
            **maps,
        }


# --- all seeds ----------------------------------------------------------------------------------


def spread(values: Sequence[float]) -> str:
    """Tenfold mean ± standard deviation."""
    found = 10 * np.array(values)
    return f"{found.mean():.2f} ± {found.std(ddof=1):.2f}" if len(found) > 1 else f"{found[0]:.2f}"


def pgu_table(outcomes: dict[str, list[Outcome]]) -> Table:
    return Table(
        "PGU × 10, lower is better",
        {"ranking": "", **dict.fromkeys(outcomes, ""), "paper, Auto-MPG": ".2f"},
        [
            [title, *(spread([one.pgu[name] for one in runs]) for runs in outcomes.values()), PAPER.get(name)]
            for name, title in NAMES.items()
        ],
        note="Mean ± standard deviation over seeds (network, split, flow and draws change). Inputs and outcome "
        "are standardised, so PGU is in standard deviations of the outcome, a mean over k = 1..d replaced inputs; "
        "zero is the mean of an input. The paper does not say in which units its numbers are: compare orders.",
    )


def noise_table(outcomes: dict[str, list[Outcome]]) -> Table:
    return Table(
        "The same in the noise × 10, lower is better",
        {"ranking": "", **dict.fromkeys(outcomes, "")},
        [
            [title, *(spread([one.noise_gap[name] for one in runs]) for runs in outcomes.values())]
            for name, title in NAMES.items()
            if name != "local_ig"
        ],
        note="Not in the paper. Instead of an input, the noise of its own is set to its median (as the fitted "
        "flow recovers it), and what the input causes follows. PGU with zeros asks what the network reads, where "
        "Sobol' indices and gradients are at home; this asks what originates the variation, where contributions "
        "are.",
    )


def wins_table(outcomes: dict[str, list[Outcome]]) -> Table:
    """How often ICC is at least as good as each other ranking, seed by seed."""
    rows = []
    for name, title in NAMES.items():
        if name != "icc":
            cells = [
                f"{sum(one.pgu['icc'] <= one.pgu[name] + 1e-9 for one in runs)} of {len(runs)}"
                for runs in outcomes.values()
            ]
            rows.append([title, *cells])
    return Table(
        "Seeds in which the topological ICC is at least as good",
        {"as": "", **dict.fromkeys(outcomes, "")},
        rows,
        note=verdict(outcomes),
    )


def verdict(outcomes: dict[str, list[Outcome]]) -> str:
    """On which data the paper's claim holds."""
    rivals = [name for name in PAPER if name != "icc"]
    holds = [
        name
        for name, runs in outcomes.items()
        if all(sum(one.pgu["icc"] - one.pgu[rival] for one in runs) <= 1e-9 for rival in rivals)
    ]
    return (
        "The paper claims that the mean PGU of ICC is the lowest, before IG, gradient SHAP and permutation "
        f"importance, on all of its data. Here it is on {len(holds)} of {len(outcomes)}"
        f"{': ' + ', '.join(holds) if holds else ''}. Equal rankings count as equally good."
    )


def contributions_table(name: str, data: Dataset, runs: list[Outcome]) -> Table:
    kinds = (
        "icc",
        "icc_shapley",
        "sobol",
        "integrated_gradients",
        "input_x_gradient",
        "gradient_shap",
        "permutation",
    )
    shares = {
        kind: np.mean([one.rankings[kind] / one.rankings[kind].sum() for one in runs], axis=0) for kind in kinds
    }
    return Table(
        f"Shares of importance: {data.name} (R² {np.mean([one.r2 for one in runs]):.2f})",
        {"input": "", **{NAMES[kind]: ".3f" for kind in kinds}},
        [[column, *(float(shares[kind][i]) for kind in kinds)] for i, column in enumerate(data.columns)],
        note=f"{data.story[0].upper()}{data.story[1:]}. Each column sums to 1; mean over seeds.",
    )


def draw(outcomes: dict[str, list[Outcome]], path: Path) -> None:
    figure, axes = plt.subplots(
        1, len(outcomes), figsize=(3 * len(outcomes), 3.4), sharey=True, layout="constrained"
    )
    for axis, (name, runs) in zip(np.atleast_1d(axes), outcomes.items(), strict=True):
        for place, kind in enumerate(NAMES):
            found = [one.pgu[kind] * 10 for one in runs]
            axis.plot(found, [place] * len(found), "o", color="0.7", markersize=4)
            axis.plot(
                np.mean(found), place, "|", color="C3" if kind.startswith("icc") else "C0", markersize=16, mew=3
            )
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("PGU × 10")
    np.atleast_1d(axes)[0].set_yticks(range(len(NAMES)), NAMES.values())
    np.atleast_1d(axes)[0].invert_yaxis()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=4096, help="draws per replicate")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "reproduce-icc")
    options = parser.parse_args()
    outcomes: dict[str, list[Outcome]] = {}
    for name in options.datasets:
        for seed in range(options.seeds):
            found = outcome(DATASETS[name](seed), seed, options.folder / name / str(seed), options.samples)
            outcomes.setdefault(name, []).append(found)
            order = sorted(NAMES, key=lambda kind: found.pgu[kind])
            print(
                f"{name}, seed {seed}: R² {found.r2:.2f}, best ranking {NAMES[order[0]]}",
                file=sys.stderr,
                flush=True,
            )
    draw(outcomes, options.folder / "pgu.png")
    tables = [
        pgu_table(outcomes),
        wins_table(outcomes),
        noise_table(outcomes),
        *(contributions_table(name, DATASETS[name](0), runs) for name, runs in outcomes.items()),
    ]
    facts = {"seeds": options.seeds, **versions("torch", "zuko", "captum")}
    publish("reproduce_icc", facts, tables)
    print(f"figure: {options.folder / 'pgu.png'}")


if __name__ == "__main__":
    main()
