"""How firm the maps of the jobs in configs/ are: by how much noise of a thousandth in the weights changes them.

Example: python -m scripts.benchmarks.bench_stability digits vowels
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from scipy.special import gammaln

import xattr_cli
from scripts.benchmarks.benchlib import ROOT, Table, publish, versions
from xattr_cli.numerics.stability import relative_change

JOBS = {  # job -> network, rows
    "breast_cancer": ("MLP 30-64-64-2", 143),
    "digits": ("digits CNN", 200),
    "vowels": ("BiLSTM", 100),
    "minilm": ("MiniLM, a transformer", 4),
    "photos": ("efficientnet-lite0", 6),
}
ENGINE = "integrated_gradients"
NOISE, DRAWS = 0.001, 10_000
COLUMNS = {
    "network": "", "rows": ",d", "change of the map, median": ".2%", "95th percentile": ".2%",
    "standard error, median": ".2%", "integration error, median": ".2%", "draws, mean": ".1f",
    "evaluations over (draws + 1) × those of the map": ".3f",
}  # fmt: skip


def main() -> None:
    names = sys.argv[1:] or list(JOBS)
    kept = ROOT / "runs" / "stability.json"  # rows of those that are not named come from an earlier run
    rows = json.loads(kept.read_text()) if sys.argv[1:] and kept.exists() else {}
    rows |= {name: measured(name) for name in names}
    kept.write_text(json.dumps(rows, default=float))
    note = (
        f"Integrated gradients at rtol 5 %; every weight is multiplied by 1 + {NOISE:g} · N(0, 1), and the map "
        "made again, until the standard error of the mean change is a fifth of it, or 16 times."
    )
    lines = [rows[name] for name in JOBS if name in rows]
    publish("stability", versions("torch"), [Table("Conditioning", COLUMNS, lines, note), exact_table()])


def exact_table() -> Table:
    """A linear network of ones, whose expected change is known: σ E χ_n / √n for n inputs."""
    rows = []
    for inputs in (1, 4, 64, 1024):
        rng = np.random.default_rng(inputs)
        noise = torch.from_numpy(rng.standard_normal((DRAWS, inputs)))
        drawn = relative_change(1 + NOISE * noise, torch.ones(DRAWS, inputs).double()).numpy()
        exact = NOISE * np.sqrt(2 / inputs) * np.exp(gammaln((inputs + 1) / 2) - gammaln(inputs / 2))
        rows.append([inputs, np.mean(drawn), np.std(drawn, ddof=1) / len(drawn) ** 0.5, exact])
    note = (
        "Integrated gradients of f(x) = w·x at x = 1 are the weights, so that the change is that of the "
        "weights. That "
        "the section of a job gives these values is tests/pipeline/test_firmness.py."
    )
    columns = {"inputs": ",d", f"change, {DRAWS:,} draws": ".4%", "its error": ".4%", "exact": ".4%"}
    return Table("A linear network, where the change is known", columns, rows, note)


def measured(name: str) -> list[Any]:
    """The row of the table of one job."""
    network, rows = JOBS[name]
    with TemporaryDirectory() as folder:
        output = Path(folder) / "firm.h5"
        content = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
        engine = {ENGINE: content["engines"][ENGINE]}
        asked = {"engines": engine, "stability": {"weights": NOISE}}
        overrides = [
            f"{key}={yaml.safe_dump(value, default_flow_style=True).strip()}" for key, value in asked.items()
        ]
        job = ROOT / "configs" / f"{name}.yaml"
        xattr_cli.run(job, overrides=[*overrides, f"output.path={output}", f"dataset.limit={rows}"])
        with xattr_cli.open_results(output) as results:
            maps = results.engine(ENGINE)
            change, error, draws, open_end, spent = (
                maps.read(f"stability/{key}")
                for key in (
                    "weights",
                    "weights_standard_error",
                    "weights_draws",
                    "weights_integration_error",
                    "evaluations",
                )
            )
            cost = (spent + maps.evaluations) / ((draws + 1) * maps.evaluations)
    median = np.median
    return [
        network, len(change), median(change), np.percentile(change, 95), median(error), median(open_end),
        draws.mean(), cost.mean(),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
