"""What the paper proves of its contributions, measured: data alone give them, and Sobol' indices enclose them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from scripts.benchmarks.benchlib import Table
from scripts.papers.icc.icc_oracle import contributions, rows_of
from scripts.papers.icc.scms import MODELS
from scripts.papers.paper_jobs import Claim, claim_table
from xattr_cli.job.config import parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import Results

__all__ = ["ISHIGAMI", "fitted", "independent", "ishigami", "tables", "uniform"]

SEEDS, ROWS = 5, 2000
ISHIGAMI = {
    "first-order Sobol' index": (0.313905, 0.442411, 0.0),
    "Shapley effect": (0.435747, 0.442411, 0.121842),
    "total Sobol' index": (0.557589, 0.442411, 0.243684),
}
"""Exact, of sin x₁ + 7 sin² x₂ + x₃⁴ sin x₁ / 10 with x_i ~ U(−π, π)."""


class _Ishigami(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        """(n, 1) of inputs (n, 3)."""
        first, second, third = x.T
        return (first.sin() * (1 + third**4 / 10) + 7 * second.sin() ** 2)[:, None]


def ishigami() -> nn.Module:
    """The function as a network."""
    return _Ishigami()


def uniform(noise: Tensor) -> Tensor:
    """`scm` of a job: standard normal noise (n, 3) to independent inputs, uniform between −π and π."""
    return math.pi * torch.erf(noise / math.sqrt(2))


def tables(folder: Path, quick: bool) -> list[Table]:
    """Fits to the rows of known models, and independent inputs."""
    shares = {name: _both(name, folder, seeds=1 if quick else SEEDS) for name in MODELS}
    found = independent(folder / "independent")
    return [
        claim_table("What the paper proves", [_identified(shares), _enclosed(found)]),
        _fit_table(shares),
        _ishigami_table(found),
    ]


# --- identified by data -----------------------------------------------------------------------------


def _both(name: str, folder: Path, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Shapley shares along the true model, (nodes,), and along fits to its rows, (seeds, nodes)."""
    place = folder / name.replace(" ", "-")
    return contributions(name, place)[0], np.array(
        [fitted(name, place / str(seed), seed) for seed in range(seeds)]
    )


def fitted(name: str, folder: Path, seed: int, rows: int = ROWS) -> np.ndarray:
    """(nodes,) Shapley shares of a model of which only rows and the graph are known."""
    folder.mkdir(parents=True, exist_ok=True)
    model = MODELS[name]
    header = ",".join(model.parents)
    np.savetxt(folder / "rows.csv", rows_of(name, rows, seed + 1), delimiter=",", header=header, comments="")
    graph = {node: list(causes) for node, causes in model.parents.items()}
    with Results.open(
        _run(
            folder,
            {"factory": "scripts.papers.icc.icc_oracle:score", "kwargs": {"name": name}},
            {"icc": {"graph": graph, "rtol": 0.005}},
            seed,
        )
    ) as results:
        return results.effects["icc"].values("shapley")[:, 0]


def _run(folder: Path, model: Mapping[str, object], engines: Mapping[str, object], seed: int = 0) -> Path:
    job = {
        "model": {"kind": "python", **model},
        "dataset": {"kind": "table", "path": "rows.csv"},
        "score": "raw",
        "engines": dict(engines),
        "compute": {"device": "cpu", "threads": 1, "seed": seed},
        "output": {"path": "shares.h5"},
    }
    return Path(run_job(parse_job(yaml.safe_dump(job), folder=folder), overwrite=True).output)


def _identified(shares: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Claim:
    apart = np.concatenate([np.abs(fits - true).ravel() for true, fits in shares.values()])
    seeds = len(next(iter(shares.values()))[1])
    return Claim(
        "Contributions are identified by data and graph: a flow fitted to rows gives those of the true model",
        f"{len(apart)} shares of {len(shares)} known models, from {ROWS:,} rows, {seeds} seeds: "
        f"{np.median(apart):.3f} apart in the middle, {apart.max():.3f} at most",
        "yes" if apart.max() < 0.05 else "in part" if np.median(apart) < 0.05 else "no",
        f"Fitted to {ROWS:,} rows alone, contributions are those of the true model within {apart.max():.3f}.",
    )


def _fit_table(shares: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Table:
    rows = [
        [name, node, float(true[k]), f"{fits[:, k].mean():.4f} ± {fits[:, k].std(ddof=min(1, len(fits) - 1)):.4f}"]
        for name, (true, fits) in shares.items()
        for k, node in enumerate(MODELS[name].parents)
    ]
    columns = {"model": "", "node": "", "ICC, Shapley, true model": ".4f", "fitted to rows": ""}
    note = (
        f"Models as below. Fitted: {ROWS:,} rows and the graph are known, nothing else; mean ± standard deviation "
        "over the seeds of rows and fit."
    )
    return Table("Known models, from their data alone", columns, rows, note)


# --- enclosed by Sobol' indices ---------------------------------------------------------------------


def independent(folder: Path) -> dict[str, np.ndarray]:
    """Estimate -> (3,): contributions and Sobol' indices of the same function of independent inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = uniform(torch.randn(64, 3, generator=torch.Generator().manual_seed(0)))
    np.savetxt(folder / "rows.csv", rows.numpy(), delimiter=",", header="x1,x2,x3", comments="")
    engines = {
        "icc": {"graph": {"x1": [], "x2": [], "x3": []}, "scm": "scripts.papers.icc.icc_theorems:uniform"},
        "sobol": {"marginals": {"uniform": [-math.pi, math.pi]}},
    }
    with Results.open(_run(folder, {"factory": "scripts.papers.icc.icc_theorems:ishigami"}, engines)) as results:
        icc, sobol = results.effects["icc"], results.effects["sobol"]
        return {
            "first-order Sobol' index": sobol.values("first_order")[:, 0],
            "ICC, topological": icc.values("topological")[:, 0],
            "ICC, Shapley": icc.values("shapley")[:, 0],
            "total Sobol' index": sobol.values("total")[:, 0],
        }


_EXACT_OF = {"ICC, topological": "Shapley effect", "ICC, Shapley": "Shapley effect"}
_ROUNDING = 0.002
"""Of the estimates: the default tolerance of both engines."""


def _enclosed(found: Mapping[str, np.ndarray]) -> Claim:
    first, last = found["first-order Sobol' index"], found["total Sobol' index"]
    kinds = [kind for kind in found if kind.startswith("ICC")]
    inside = all(
        bool(((first - _ROUNDING <= found[kind]) & (found[kind] <= last + _ROUNDING)).all()) for kind in kinds
    )
    apart = max(float(np.abs(value - ISHIGAMI[_EXACT_OF.get(kind, kind)]).max()) for kind, value in found.items())
    return Claim(
        "Contributions and Sobol' indices are related: of independent inputs, a contribution lies between the "
        "first-order and the total index",
        f"Ishigami's function: {'it does for each input and both forms' if inside else 'it does not'}; all "
        f"estimates are within {apart:.4f} of their exact values, those of ICC of the Shapley effects",
        "yes" if inside and apart < 0.01 else "in part" if inside else "no",
    )


def _ishigami_table(found: Mapping[str, np.ndarray]) -> Table:
    rows = [[kind, *map(float, value)] for kind, value in found.items()]
    rows += [[f"{kind}, exact", *value] for kind, value in ISHIGAMI.items()]
    columns = {"estimate": "", "x₁": ".4f", "x₂": ".4f", "x₃": ".4f"}
    return Table("Ishigami's function of independent inputs", columns, rows)
