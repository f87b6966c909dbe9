"""Explaining a network that is in memory already."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from ..job.config import check_job
from ..job.target import named_target
from ..pipeline.run import run_job
from .given import GivenData, GivenModel
from .view import ResultView

__all__ = ["explain"]


def explain(
    module: Any,
    inputs: Any,
    *,
    engines: str | Sequence[str] | Mapping[str, Any] = "integrated_gradients",
    target: str | int | Mapping[str, Any] = "predicted",
    labels: Any = None,
    class_names: Sequence[str] = (),
    score: str | Mapping[str, Any] = "auto",
    output: str | Path | None = None,
    overwrite: bool = False,
    **sections: Any,
) -> ResultView:
    """Explain the outputs of a network for some inputs, with an error bar on every map.

    All that a job does is done: the network is checked, rows are refined until their error is small enough, and
    the result is a file. The module is lent: it comes back on its device, in its mode, with its gradients.

    Arguments:
        module: `torch.nn.Module`, takes (n, *shape) inputs and returns (n, outputs) or (n,).
        inputs: (samples, *shape) array, tensor or data frame, a list of sequences of different lengths, or a
            mapping of such by name, in the order in which the network takes them.
        engines: names, or what a job has under `engines`: {label: options}.
        target: which outputs: predicted, label, all, a number, a class name, or what a job has under `target`.
        labels: (samples,) classes or values; for `target="label"` and for figures.
        class_names: of the outputs.
        score: what a job has under `score`.
        output: where the result goes; None for a temporary file that lives as long as what is returned.
        overwrite: replace the result of another call at `output`.
        sections: further sections of a job, such as `compute={"device": "cpu"}` or `explain={"layer": "conv1"}`.

    Returns:
        The open result.

    Raises:
        XattrError: with a message that names key, value, and what is allowed.

    Example:
        >>> import torch, xattr_cli
        >>> network = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        >>> engines = {"integrated_gradients": {"rtol": 0.01}}
        >>> results = xattr_cli.explain(network, torch.ones(4, 3), engines=engines)
        >>> engine = results.engine("integrated_gradients")
        >>> engine.attribution(slice(0, 2)).shape, bool((engine.relative_error <= 0.01).all())
        ((2, 3), True)
    """
    given = {
        "model": GivenModel.of(module),
        "dataset": GivenData.of(inputs, labels, tuple(class_names)),
        "engines": engines if isinstance(engines, str | Mapping) else list(engines),
        "target": named_target(target),
        "score": score,
        **sections,
    }
    return _temporary(given) if output is None else _result(given, Path(output), overwrite)


def _temporary(given: Mapping[str, Any]) -> ResultView:
    """A result in a folder that goes when nobody holds the result any more."""
    folder = mkdtemp(prefix="xattr-cli-")
    try:
        results = _result(given, Path(folder, "result.h5"), overwrite=False)
    except BaseException:
        _remove(folder)
        raise
    weakref.finalize(results, _remove, folder)
    return results


def _result(given: Mapping[str, Any], path: Path, overwrite: bool) -> ResultView:
    output = {"path": path, "store_inputs": "all", **given.get("output", {})}
    job = check_job({**given, "output": output}, folder=Path.cwd())
    run_job(job, overwrite=overwrite, command_line="xattr_cli.explain")
    return ResultView.open(path)


def _remove(folder: str) -> None:
    """Delete a temporary folder and what is in it."""
    shutil.rmtree(folder, ignore_errors=True)
