"""Contributions along known models beside those of DoWhy, which were found in an environment of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from scripts.benchmarks.benchlib import Table
from scripts.papers.icc.scms import MODELS, Model
from scripts.papers.paper_jobs import Claim, claim_table
from xattr_cli.job.config import parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import Results

__all__ = ["chain", "contributions", "diamond", "dowhy_shares", "fork", "rows_of", "score", "tables"]

VALUES = Path(__file__).with_name("dowhy_values.json")


def chain(noise: Tensor) -> Tensor:
    """`scm` of a job: standard normal noise (n, nodes) to inputs (n, nodes)."""
    return _inputs(MODELS["linear chain"], noise)


def fork(noise: Tensor) -> Tensor:
    """The same."""
    return _inputs(MODELS["fork"], noise)


def diamond(noise: Tensor) -> Tensor:
    """The same."""
    return _inputs(MODELS["diamond"], noise)


SCMS = {"linear chain": "chain", "fork": "fork", "diamond": "diamond"}


def _inputs(model: Model, noise: Tensor) -> Tensor:
    return torch.stack(model.values(list(noise.T)), dim=1)


class _Score(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = MODELS[name]

    def forward(self, inputs: Tensor) -> Tensor:
        """(n, 1) of inputs (n, nodes)."""
        found: Tensor = self.model.score(list(inputs.T))
        return found[:, None]


def score(name: str) -> nn.Module:
    """The score of a model as a network."""
    return _Score(name)


def rows_of(name: str, rows: int, seed: int) -> np.ndarray:
    """(rows, nodes) drawn from a model."""
    generator = torch.Generator().manual_seed(seed)
    drawn = _inputs(MODELS[name], torch.randn(rows, len(MODELS[name].parents), generator=generator))
    return np.asarray(drawn.numpy())


def contributions(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Shapley shares (nodes,) of a model, their standard errors, and the evaluations that they took."""
    folder.mkdir(parents=True, exist_ok=True)
    model = MODELS[name]
    header = ",".join(model.parents)
    np.savetxt(folder / "rows.csv", rows_of(name, 64, 0), delimiter=",", header=header, comments="")
    job = {
        "model": {"kind": "python", "factory": "scripts.papers.icc.icc_oracle:score", "kwargs": {"name": name}},
        "dataset": {"kind": "table", "path": "rows.csv"},
        "score": "raw",
        "engines": {"icc": {"graph": {node: list(causes) for node, causes in model.parents.items()},
                            "scm": f"scripts.papers.icc.icc_oracle:{SCMS[name]}", "control": "polynomial"}},
        "compute": {"device": "cpu", "threads": 1},
        "output": {"path": "icc.h5"},
    }  # fmt: skip
    run_job(parse_job(yaml.safe_dump(job), folder=folder), overwrite=True)
    with Results.open(folder / "icc.h5") as results:
        found = results.effects["icc"]
        return found.values("shapley")[:, 0], found.values("shapley_standard_error")[:, 0], found.evaluations


def dowhy_shares(name: str) -> tuple[np.ndarray, np.ndarray, str]:
    """What DoWhy found: mean shares (nodes,) of its repetitions, their standard errors, and its version."""
    content: dict[str, Any] = json.loads(VALUES.read_text(encoding="utf-8"))
    repeats = np.array([content["shares"][name][node] for node in MODELS[name].parents])
    return repeats.mean(axis=1), repeats.std(axis=1, ddof=1) / repeats.shape[1] ** 0.5, content["dowhy"]


def tables(folder: Path, quick: bool) -> list[Table]:
    """Three models, node by node."""
    rows, apart, known = [], [], ""
    for name, model in MODELS.items():
        own, error, evaluations = contributions(name, folder / SCMS[name])
        theirs, their_error, known = dowhy_shares(name)
        for place, node in enumerate(model.parents):
            distance = (own[place] - theirs[place]) / np.hypot(error[place], their_error[place])
            apart.append(abs(float(distance)))
            rows.append([
                name, node, float(own[place]), float(error[place]), float(theirs[place]),
                float(their_error[place]), float(distance), evaluations,
            ])  # fmt: skip
    columns = {
        "model": "", "node": "", "ICC, Shapley": ".4f", "its error": ".4f", "DoWhy": ".4f", "its error over 8 "
        "runs": ".4f",
        "apart, in standard errors": "+.1f", "evaluations, all nodes": ",d",
    }  # fmt: skip
    formulas = "; ".join(f"{name}: {model.formula}" for name, model in MODELS.items())
    note = (
        f"A, …: standard normal noise n. {formulas}. DoWhy {known}, exact prediction model, 1,000 × 1,000 "
        "samples, 8 "
        "seeds (dowhy_values.py; its environment is its own, its numbers are committed)."
    )
    claim = Claim(
        "The Shapley form is the intrinsic causal influence of Janzing et al., which DoWhy computes",
        f"{len(apart)} contributions of {len(MODELS)} models: at most {max(apart):.1f} standard errors apart "
        "(median "
        f"{np.median(apart):.1f}); ours are {max(row[3] for row in rows):.4f} at most, DoWhy's up to "
        f"{max(row[5] for row in rows):.3f}",
        "yes" if max(apart) < 3.5 else "in part" if np.median(apart) < 2 else "no",
        f"On {len(MODELS)} known models contributions equal DoWhy's within {max(apart):.1f} standard errors of "
        "its own.",
    )
    return [
        claim_table("Known models: contributions beside DoWhy's", [claim]),
        Table("Known models, node by node", columns, rows, note),
    ]
