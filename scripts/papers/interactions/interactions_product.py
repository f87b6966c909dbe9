"""The product as a user runs it: a job file beside a checkpoint and arrays, and the result read back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from xattr_cli.job.config import load_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import EngineResults, Results

__all__ = ["explain", "interactions"]


def explain(
    folder: Path, network: nn.Sequential, model: Mapping[str, Any], inputs: Tensor, engines: Mapping[str, Any],
    *, features: tuple[str, ...] = (),
) -> Results:  # fmt: skip
    """Leave model.pt, samples.npz and job.yaml in `folder`, run the job, and open what it has found.

    Arguments:
        folder: made if need be; an earlier result in it is replaced.
        network: a network of `xattr_cli.models.zoo:mlp` with one output.
        model: keywords of that factory.
        inputs: (samples, features) to explain.
        engines: the section of the job file.
        features: names of the features, if they have any.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(folder / "samples.npz", X=inputs.numpy())
    named = {"features": list(features)} if features else {}
    job = {
        "model": {"kind": "python", "factory": "xattr_cli.models.zoo:mlp", "kwargs": dict(model),
                  "checkpoint": "model.pt"},
        "dataset": {"kind": "arrays", "path": "samples.npz", "inputs": "X", **named},
        "target": {"index": 0},
        "score": "raw",
        "engines": dict(engines),
        "output": {"path": "interactions.h5"},
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    report = run_job(load_job(str(folder / "job.yaml")), overwrite=True)
    return Results.open(report.output)


def interactions(found: EngineResults) -> Tensor:
    """(rows, features or groups, features or groups) of a second-order engine."""
    return torch.from_numpy(found.interaction(slice(None)))
