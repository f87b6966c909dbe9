"""COMPAS, class by class: which inputs originate the variation of each risk class that a network gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
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
        blind: accuracy, `icc` and `sobol` of a network that does not read `DEMOGRAPHY`.
    """

    accuracy: float
    icc: np.ndarray
    sobol: np.ndarray
    entropy: np.ndarray
    blind: tuple[float, np.ndarray, np.ndarray]


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
    np.savetxt(folder / "train.csv", scaled[fit], delimiter=",", header=",".join(COLUMNS), comments="")
    right = {}
    for name, unread in {"classes": (), "blind": DEMOGRAPHY}.items():
        given = torch.from_numpy(scaled[fit]), torch.from_numpy(risk[fit])
        network = _trained(*given, seed, epochs=2 if quick else 30, unread=unread)
        with torch.no_grad():
            taken = network(torch.from_numpy(scaled[held_out])).argmax(dim=1).numpy()
        right[name] = float((taken == risk[held_out]).mean())
        torch.save(network.state_dict(), folder / f"{name}.pt")
    graph = {column: list(PARENTS.get(column, ())) for column in COLUMNS}
    most = {"rtol": 0.02} if quick else {"rtol": 0.01}
    entropy = {"engine": "icc", "graph": graph, "measure": "entropy", "rtol": 0.1, "max_evaluations": 2**21}
    engines = {"icc": {"graph": graph, **most}, "entropy": entropy, "sobol": most}
    with Results.open(_run(folder, "classes", engines, seed)) as results:
        if seed == 0:
            plot_all(results, folder / "plots")
        icc, sobol = results.effects["icc"].values("shapley"), results.effects["sobol"].values("total")
        shared = results.effects["entropy"].values("weighted/shapley")
    # the noise of the inputs is the same: it is not fitted once more
    engines = {"icc": {"flow": "classes.icc.flow.safetensors", **most}, "sobol": most}
    with Results.open(_run(folder, "blind", engines, seed)) as results:
        unread_too = results.effects["icc"].values("shapley"), results.effects["sobol"].values("total")
    return Classes(right["classes"], icc, sobol, shared, (right["blind"], *unread_too))


def _run(folder: Path, name: str, engines: Mapping[str, object], seed: int) -> Path:
    """The result of a job on the training rows, with the network that was saved under that name."""
    model = {"inputs": len(COLUMNS), "hidden": HIDDEN, "outputs": len(RISKS)}
    job = {
        "model": {
            "kind": "python",
            "factory": "xattr_cli.models.zoo:mlp",
            "kwargs": model,
            "checkpoint": f"{name}.pt",
        },
        "dataset": {"kind": "table", "path": "train.csv", "class_names": list(RISKS)},
        "score": "probability",
        "target": "all",
        "engines": dict(engines),
        "compute": {"device": "cpu", "threads": 1, "seed": seed},
        "output": {"path": f"{name}.h5"},
    }
    return Path(run_job(parse_job(yaml.safe_dump(job), folder=folder), overwrite=True).output)


def _trained(
    inputs: torch.Tensor, labels: torch.Tensor, seed: int, epochs: int, unread: Sequence[str] = ()
) -> nn.Sequential:
    """A network that reads all columns but some, of which it has weights of zero."""
    torch.manual_seed(seed)
    columns = [[*COLUMNS].index(name) for name in unread]
    inputs = inputs.index_fill(1, torch.tensor(columns, dtype=torch.long), 0.0)
    network = mlp(inputs.shape[1], HIDDEN, len(RISKS))
    adam = torch.optim.Adam(network.parameters(), lr=1e-3)
    descend(adam, lambda part: cross_entropy(network(inputs[part]), labels[part]), len(inputs), epochs=epochs)
    (first, *_) = (layer for layer in network if isinstance(layer, nn.Linear))
    with torch.no_grad():
        first.weight[:, columns] = 0  # nothing has moved them: their inputs were 0
    return network.eval()


def _claims(found: Sequence[Classes]) -> list[Claim]:
    places, high = [[*COLUMNS].index(name) for name in DEMOGRAPHY], len(RISKS) - 1
    unread = [one.blind[1][places, high] for one in found]
    shares, read = [float(each.sum()) for each in unread], [float(one.blind[2][places].max()) for one in found]
    each = ", ".join(f"{name} {mean_of([one[k] for one in unread])}" for k, name in enumerate(DEMOGRAPHY))
    reading = ", ".join(
        f"{name} {np.mean([one.icc[k, high] for one in found]):.3f} and "
        f"{np.mean([(one.sobol / one.sobol.sum(axis=0))[k, high] for one in found]):.3f}"
        for k, name in zip(places, DEMOGRAPHY, strict=True)
    )
    spread = [
        max(float(np.abs(one.icc[:, a] - one.icc[:, b]).max()) for a, b in combinations(range(len(RISKS)), 2))
        for one in found
    ]
    right = mean_of([100 * one.blind[0] for one in found], ".1f")
    traced = sum(share > 0.05 and total < 1e-6 for share, total in zip(shares, read, strict=True))
    return [
        Claim(
            "What an input originates need not be read: contributions trace the output back to causes of inputs",
            f"networks that do not read sex, age and race (right in {right} % of the held-out classes; total "
            f"Sobol' indices of the three at most {max(read):g}): the three originate {mean_of(shares)} of the "
            f"variation of the chance of '{RISKS[high]}', through the record ({each}). Of networks that read "
            f"them, ICC and share of the total Sobol' indices: {reading}",
            "yes" if traced == len(found) else "in part" if traced else "no",
            f"COMPAS: networks that read neither sex, age nor race owe them {np.mean(shares):.0%} of what moves "
            f"the chance of '{RISKS[high]}', through the record.",
        ),
        Claim(
            "(not in the paper) Classes of one network have different contributions",
            f"greatest difference of a share between two of the {len(RISKS)} classes: {mean_of(spread)}",
            "yes" if min(spread) > 0.05 else "in part" if max(spread) > 0.05 else "no",
        ),
    ]


def _class_table(found: Sequence[Classes]) -> Table:
    rows = []
    for place, name in enumerate(COLUMNS):
        own = [mean_of([float(one.icc[place, kind]) for one in found], ".3f") for kind in range(len(RISKS))]
        total = [float(np.mean([one.sobol[place, kind] for one in found])) for kind in range(len(RISKS))]
        blind = mean_of([float(one.blind[1][place, -1]) for one in found], ".3f")
        rows.append([name, *own, mean_of([float(one.entropy[place]) for one in found], ".3f"), *total, blind])
    columns = {
        "input": "", **{f"ICC, {risk}": "" for risk in RISKS}, "ICC, entropy of the class": "",
        **{f"Sobol' total, {risk}": ".3f" for risk in RISKS},
        f"unread: ICC, {RISKS[-1]}": "",
    }  # fmt: skip
    note = (
        "Shapley shares of the variance of each class's probability, and of the entropy of the predicted class; "
        "mean ± standard deviation over networks. The network is taught the classes of COMPAS's own score; inputs "
        "and graph as in the comparison above. Unread: networks that do not read sex, age and race."
    )
    return Table("COMPAS: contributions per class", columns, rows, note)
