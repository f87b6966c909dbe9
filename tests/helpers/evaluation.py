"""Result files to evaluate, and what evaluations say of them row by row."""

from __future__ import annotations

import h5py

from helpers.cli import invoke, run, write_job
from xattr_cli.evaluation import EvaluationOptions, evaluate_file

LOCAL = {"integrated_gradients": {"rtol": 1e-6, "max_nodes": 4097}, "saliency": None}


def result(folder, factory="network", engines=None, name="out", **sections):
    """The file of a job on one of the networks, computed in float64."""
    sections.setdefault("target", "all")
    sections.setdefault("dataset", {"labels": None})
    compute = {"precision": "float64", **sections.pop("compute", {})}
    model = {"factory": f"networks:{factory}", **sections.pop("model", {})}
    output = {"path": f"{name}.h5"}
    engines = LOCAL if engines is None else engines
    sections |= {"model": model, "engines": engines, "compute": compute, "output": output}
    run(write_job(folder, f"{name}.yaml", **sections), "--quiet")
    return folder / f"{name}.h5"


def evaluate(file, *metrics, overrides=(), **options):
    inquiry = EvaluationOptions(metrics=metrics or ("pgu",), **options)
    return evaluate_file(file, inquiry, trust=True, folder=file.parent, overrides=overrides)


def values(found, metric=0):
    """Candidate → (rows,) numbers."""
    measured = found.measurements[metric]
    return dict(zip(measured.candidates, measured.values, strict=True))


def command(file, *arguments, code=0, trust=True):
    trusted = ("--trust", "--folder", file.parent) if trust else ()
    outcome = invoke("evaluate", file, *trusted, "--quiet", *arguments)
    assert outcome.exit_code == code, outcome.stderr
    return outcome


def maps(file, label):
    with h5py.File(file) as opened:
        return opened[f"engines/{label}/attribution"][()].astype(float), opened["rows/target"][()]
