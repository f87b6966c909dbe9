"""Jobs of the engines `icc` and `sobol` with structural models that are known, and what they found."""

from __future__ import annotations

import torch

from helpers import causal_networks
from helpers.cli import run, write_data, write_job
from xattr_cli.store.results.reader import Results

CHAIN = {"a": [], "b": ["a"], "c": ["a", "b"]}
PAIR = {"a": [], "b": ["a"]}


def data_of(scm, columns, rows=400):
    noise = torch.randn(rows, columns, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return getattr(causal_networks, scm)(noise).float().numpy()


def job_of(folder, network, x, *, features="abcdefgh", engine="icc", dataset=None, **sections):
    """A job whose engine's options are `sections`' `options`; columns are called a, b, ..."""
    options = sections.pop("options", {})
    write_data(folder, x, None)
    names = {"features": list(features[: x.shape[1]])} if features else {}
    return write_job(
        folder,
        model={"factory": f"helpers.causal_networks:{network}"},
        dataset={"labels": None, **names, **(dataset or {})},
        engines={engine: options},
        **sections,
    )


def study(folder, network, scm, graph, columns=None, **options):
    """Effects of a job with a known model."""
    columns = columns or len(graph)
    x = data_of(scm, columns)
    options = {"graph": graph, "scm": f"helpers.causal_networks:{scm}", **options}
    run(job_of(folder, network, x, options=options), "--overwrite")
    return effects(folder)


def effects(folder, label="icc"):
    with Results.open(folder / "out.h5") as results:
        results.verify()
        found = results.effects[label]
        values = {}
        for name in found.names:
            text = found.texts(name) if name in TEXTS else None
            values[name] = text if text else found.values(name)
        values["axes"] = {name: found.axes_of(name) for name in found.names}
        values["warnings"], values["converged"] = found.warnings, found.converged
        values["evaluations"] = found.evaluations
        return values


TEXTS = ("nodes", "estimator", "target_names", "flow/noise_names")
