"""One seed of a dataset: a network is trained, its inputs are ranked, and every ranking is judged."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import yaml
from captum.attr import GradientShap
from torch import nn

from scripts.networks.descent import descend
from scripts.networks.icc_network import network
from scripts.papers.icc.icc_do_shapley import do_shapley
from scripts.papers.icc.icc_noise_gap import noise_gaps
from xattr_cli.causal.flow.checkpoint import load_flow
from xattr_cli.evaluation import EvaluationOptions, evaluate_file
from xattr_cli.job.config import parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import Results

if TYPE_CHECKING:
    from scripts.networks.icc_data import Dataset

__all__ = ["NAMES", "Outcome", "graph_of", "outcome", "run", "split", "train"]

NAMES = {
    "icc": "ICC, topological",
    "icc_shapley": "ICC, Shapley",
    "do_shapley": "do-Shapley, mean absolute",
    "sobol": "Sobol', total",
    "integrated_gradients": "mean absolute IG",
    "input_x_gradient": "mean absolute input × gradient",
    "gradient_shap": "gradient SHAP",
    "permutation": "permutation importance",
    "local_ig": "IG of each row (a map, no index)",
    "(random)": "random order",
}
FLOW = "train.icc.flow.safetensors"


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
    descend(
        optimizer,
        lambda part: nn.functional.mse_loss(net(x[part])[:, 0], y[part]),
        len(x),
        epochs=epochs,
        batch=32,
    )
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
    model = load_flow(folder / FLOW, data.columns, None).model
    rankings["do_shapley"] = np.abs(do_shapley(model, net, fit_x, seed)).mean(axis=0)
    judged = run(folder, data, "test", {"local_ig": LOCAL}, seed)
    found = evaluate_file(judged, EvaluationOptions(metrics=("pgu",), importances=rankings), trust=True)
    (pgu,) = found.measurements
    means = {name: one.mean for name, one in pgu.estimates(found.samples).items()}
    gaps = noise_gaps(folder / FLOW, data.columns, net, test_x, rankings, seed)
    return Outcome(rankings, means, gaps, 1 - error / float(test_y.var()))


LOCAL = {"engine": "integrated_gradients"}


def graph_of(data: Dataset) -> dict[str, list[str]]:
    """Child -> parents, of all columns."""
    return {column: list(data.parents.get(column, [])) for column in data.columns}


def engines(data: Dataset, samples: int) -> dict[str, object]:
    return {
        "icc": {"graph": graph_of(data), "samples": samples},
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
