"""What the paper proves of its contributions, measured: data alone give them, and Sobol' indices enclose them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from scripts.benchmarks.benchlib import Table
from scripts.papers.icc.icc_oracle import contributions, rows_of
from scripts.papers.icc.scms import MODELS
from scripts.papers.paper_jobs import Claim, claim_table, mean_of
from xattr_cli.job.config import parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import Results

__all__ = ["ISHIGAMI", "fitted", "independent", "ishigami", "tables", "uniform"]

SEEDS, ROWS = 5, (500, 2000, 8000)
CLOSE = 0.05  # to a share; they sum to 1
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
    seeds, rows = (1, ROWS[:2]) if quick else (SEEDS, ROWS)
    shares = {name: _both(name, folder, seeds, rows) for name in MODELS}
    found = independent(folder / "independent")
    return [
        claim_table("What the paper proves", [_identified(shares, rows), _enclosed(found)]),
        _fit_table(shares, rows),
        _ishigami_table(found),
    ]


# --- identified by data -----------------------------------------------------------------------------


def _both(name: str, folder: Path, seeds: int, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Shapley shares along the true model, (nodes,), and along fits to rows, (numbers of rows, seeds, nodes)."""
    place = folder / name.replace(" ", "-")
    fits = [[fitted(name, place / f"{count}-{seed}", seed, count) for seed in range(seeds)] for count in rows]
    return contributions(name, place)[0], np.array(fits)


def fitted(name: str, folder: Path, seed: int, rows: int) -> np.ndarray:
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


def _identified(shares: Mapping[str, tuple[np.ndarray, np.ndarray]], rows: Sequence[int]) -> Claim:
    """Identified: what is missed falls as rows are added, and is little with the most of them."""
    apart = np.concatenate([np.abs(fits - true).reshape(len(rows), -1) for true, fits in shares.values()], axis=1)
    typical, largest = np.sqrt((apart**2).mean(axis=1)), apart.max(axis=1)
    falls = bool((np.diff(typical) < 0).all())
    told = ", ".join(
        f"{count:,} rows {one:.3f} ({most:.3f} at most)"
        for count, one, most in zip(rows, typical, largest, strict=True)
    )
    return Claim(
        "Contributions are identified by data and graph: a flow fitted to rows gives those of the true model",
        f"{apart.shape[1]} shares of {len(shares)} known models and all seeds, root mean square of what a fit "
        f"misses of a share: {told}",
        "yes" if falls and largest[-1] < CLOSE else "in part" if falls or largest[-1] < CLOSE else "no",
        f"Fitted to {rows[-1]:,} rows alone, contributions miss those of the true model by {typical[-1]:.3f} "
        f"({largest[-1]:.3f} at most).",
    )


def _fit_table(shares: Mapping[str, tuple[np.ndarray, np.ndarray]], rows: Sequence[int]) -> Table:
    lines = [
        [name, node, float(true[k]), *(mean_of(some[:, k], ".4f") for some in fits)]
        for name, (true, fits) in shares.items()
        for k, node in enumerate(MODELS[name].parents)
    ]
    columns = {"model": "", "node": "", "ICC, Shapley, true model": ".4f"}
    note = (
        "Models as below. Fitted: rows and the graph are known, nothing else; mean ± standard deviation over the "
        "seeds of rows and fit."
    )
    fitted_to = {f"fitted to {count:,} rows": "" for count in rows}
    return Table("Known models, from their data alone", {**columns, **fitted_to}, lines, note)


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
