"""COMPAS, class by class: which inputs originate the variation of each risk class that a network gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import nn
from torch.nn.functional import cross_entropy

from scripts.benchmarks.benchlib import Table
from scripts.networks.compas import COLUMNS, PARENTS, RISKS, compas
from scripts.networks.descent import descend
from scripts.papers.paper_jobs import Claim, claim_table, mean_of
from xattr_cli.job.config import parse_job
from xattr_cli.models.zoo import mlp
from xattr_cli.pipeline.run import run_job
from xattr_cli.reports.gallery import plot_all
from xattr_cli.store.results.reader import Results

__all__ = ["Classes", "tables"]

SEEDS = 5
HIDDEN = [64, 64]
DEMOGRAPHY = ("sex", "age", "race")


@dataclass(frozen=True)
class Classes:
    """What one network gave.

    Attributes:
        accuracy: on held-out defendants.
        icc: (inputs, classes) Shapley shares of the variance of each class's probability.
        sobol: (inputs, classes) total indices of the same, the inputs taken as independent.
        entropy: (inputs,) Shapley shares of the entropy of the class that is predicted.
    """

    accuracy: float
    icc: np.ndarray
    sobol: np.ndarray
    entropy: np.ndarray


def tables(folder: Path, quick: bool) -> list[Table]:
    """Networks of several seeds, which reproduce the risk classes of COMPAS's own score."""
    found = [_classes(folder / str(seed), seed, quick) for seed in range(1 if quick else SEEDS)]
    right = mean_of([100 * one.accuracy for one in found], ".1f")
    title = f"COMPAS, risk class by class; {len(found)} networks, {right} % of the held-out classes right"
    return [claim_table(title, _claims(found)), _class_table(found)]


def _classes(folder: Path, seed: int, quick: bool) -> Classes:
    folder.mkdir(parents=True, exist_ok=True)
    inputs, _, risk = compas()
    order = np.random.default_rng(seed).permutation(len(inputs))
    cut = int(0.8 * len(order))
    fit, held_out = order[:cut], order[cut:]
    scaled = ((inputs - inputs[fit].mean(axis=0)) / inputs[fit].std(axis=0)).astype(np.float32)
    network = _trained(torch.from_numpy(scaled[fit]), torch.from_numpy(risk[fit]), seed, epochs=2 if quick else 30)
    with torch.no_grad():
        right = network(torch.from_numpy(scaled[held_out])).argmax(dim=1).numpy() == risk[held_out]
    torch.save(network.state_dict(), folder / "model.pt")
    np.savetxt(folder / "train.csv", scaled[fit], delimiter=",", header=",".join(COLUMNS), comments="")
    graph = {column: list(PARENTS.get(column, ())) for column in COLUMNS}
    model = {"inputs": len(COLUMNS), "hidden": HIDDEN, "outputs": len(RISKS)}
    most = {"rtol": 0.02} if quick else {"rtol": 0.01}
    job = {
        "model": {
            "kind": "python",
            "factory": "xattr_cli.models.zoo:mlp",
            "kwargs": model,
            "checkpoint": "model.pt",
        },
        "dataset": {"kind": "table", "path": "train.csv", "class_names": list(RISKS)},
        "score": "probability",
        "target": "all",
        "engines": {
            "icc": {"graph": graph, **most},
            "entropy": {
                "engine": "icc",
                "graph": graph,
                "measure": "entropy",
                "rtol": 0.1,
                "max_evaluations": 2**21,
            },
            "sobol": most,
        },
        "compute": {"device": "cpu", "threads": 1, "seed": seed},
        "output": {"path": "classes.h5"},
    }
    run_job(parse_job(yaml.safe_dump(job), folder=folder), overwrite=True)
    with Results.open(folder / "classes.h5") as results:
        if seed == 0:
            plot_all(results, folder / "plots")
        icc, sobol = results.effects["icc"].values("shapley"), results.effects["sobol"].values("total")
        entropy = results.effects["entropy"].values("weighted/shapley")
    return Classes(float(right.mean()), icc, sobol, entropy)


def _trained(inputs: torch.Tensor, labels: torch.Tensor, seed: int, epochs: int) -> nn.Sequential:
    torch.manual_seed(seed)
    network = mlp(inputs.shape[1], HIDDEN, len(RISKS))
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    descend(adam, lambda part: cross_entropy(network(inputs[part]), labels[part]), len(inputs), epochs=epochs)
    return network.eval()


def _claims(found: Sequence[Classes]) -> list[Claim]:
    names = list(COLUMNS)
    demography = [names.index(name) for name in DEMOGRAPHY]
    races = [float(one.icc[names.index("race"), -1]) for one in found]
    shares = [float(one.icc[demography, -1].sum()) for one in found]
    read = [float((one.sobol / one.sobol.sum(axis=0))[demography, -1].sum()) for one in found]
    spread = [float(np.abs(one.icc[:, 0] - one.icc[:, 1]).max()) for one in found]
    more = sum(a > b for a, b in zip(shares, read, strict=True))
    return [
        Claim(
            "Contributions trace the output back to causes that a network need not read, such as who somebody is",
            f"of the variation of the chance of '{RISKS[-1]}', sex, age and race originate {mean_of(shares)} "
            "(race alone "
            f"{mean_of(races, '.3f')}); by total Sobol' indices, which take inputs as independent, they have "
            f"{mean_of(read)} of the sum",
            "yes" if more == len(found) else "in part" if more > len(found) / 2 else "no",
            f"COMPAS: sex, age and race originate {np.mean(shares):.0%} of what moves the chance of "
            f"'{RISKS[-1]}', though "
            f"the network reads of them only {np.mean(read):.0%} (Sobol').",
        ),
        Claim(
            "Classes of one network have different contributions",
            "greatest difference of a share between the classes 'Low' and 'Medium': " + mean_of(spread),
            "yes" if min(spread) > 0.05 else "in part" if max(spread) > 0.05 else "no",
        ),
    ]


def _class_table(found: Sequence[Classes]) -> Table:
    rows = []
    for place, name in enumerate(COLUMNS):
        own = [mean_of([float(one.icc[place, kind]) for one in found], ".3f") for kind in range(len(RISKS))]
        total = [float(np.mean([one.sobol[place, kind] for one in found])) for kind in range(len(RISKS))]
        rows.append([name, *own, mean_of([float(one.entropy[place]) for one in found], ".3f"), *total])
    columns = {
        "input": "", **{f"ICC, {risk}": "" for risk in RISKS}, "ICC, entropy of the class": "",
        **{f"Sobol' total, {risk}": ".3f" for risk in
        RISKS}, }  # fmt: skip
    note = (
        "Shapley shares of the variance of each class's probability, and of the entropy of the predicted class; "
        "mean ± standard deviation over networks. "
        "The network "
        "is taught the classes of COMPAS's own score; inputs and graph as in the comparison above."
    )
    return Table("COMPAS: contributions per class", columns, rows, note)
