"""A job of these experiments, as its YAML says, in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from xattr_cli.job.config import parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.reports.gallery import plot_all
from xattr_cli.store.results.reader import Results

__all__ = ["SEEDS", "run_effects"]

SEEDS = 5


def run_effects(
    folder: Path,
    dataset: Mapping[str, object],
    factory: str,
    engines: Mapping[str, object],
    *,
    kwargs: Mapping[str, object] | None = None,
    name: str = "effects",
    plots: bool = True,
    **rest: object,
) -> Path:
    """Run a job on `model.pt` of a folder, draw its figures, and return its result file.

    Arguments:
        folder: of the checkpoint and the data.
        dataset, engines: sections of the job.
        factory: of `scripts.networks.ace_networks`.
        kwargs: of the factory.
        name: of job and result.
        plots: whether to draw.
        rest: other sections.
    """
    job = {
        "model": {
            "kind": "python",
            "factory": f"scripts.networks.ace_networks:{factory}",
            "checkpoint": "model.pt",
            "kwargs": dict(kwargs or {}),
        },
        "dataset": dict(dataset),
        "engines": dict(engines),
        "compute": {"device": "cpu", "threads": 1},
        "output": {"path": f"{name}.h5"},
        **rest,
    }
    text = yaml.safe_dump(job, sort_keys=False)
    (folder / f"{name}.yaml").write_text(text)
    output = Path(run_job(parse_job(text, folder=folder), overwrite=True).output)
    if plots:
        with Results.open(output) as results:
            plot_all(results, folder / "plots")
    return output
