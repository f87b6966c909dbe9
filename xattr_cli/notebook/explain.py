"""Explaining a network that is in memory already."""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
from torch import Tensor

from ..job.config import check_job
from ..job.target import named_target
from ..pipeline.run import run_job
from .given import TARGETS, GivenBaseline, GivenData, GivenModel, inputs_by_name
from .view import ResultView

__all__ = ["explain"]


def explain(
    module: Any,
    inputs: Any,
    *,
    engines: str | Sequence[str] | Mapping[str, Any] = "integrated_gradients",
    target: Any = "predicted",
    labels: Any = None,
    class_names: Sequence[Any] = (),
    tokens: Sequence[Sequence[str]] | None = None,
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
        inputs: (samples, *shape) array, tensor or data frame, a list of sequences of different lengths, a mapping
            (or a tuple) of such, in the order in which the network takes them, or a dataset of torch. Of
            several, integers (lengths, masks) go along with those that are explained.
        engines: names, or what a job has under `engines`: {label: options}; a `baseline` may be a number, an array
            or a tensor too: of a sample's shape, one for each sample, or several as a background.
        target: which outputs: predicted, label, all, the number of an output, one of `class_names`, (samples,) of
            these, or what a job has under `target`.
        labels: (samples,) classes or values; for `target="label"` and for figures.
        class_names: of the outputs, in their order.
        tokens: what the steps of each sample are called, without its padding, which then gets no attribution.
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
        >>> engine.attribution().shape, bool((engine.relative_error <= 0.01).all())
        ((4, 3), True)
    """
    model, named = GivenModel.of(module), inputs_by_name(module, inputs)
    said, targets = _targets(target, class_names)
    data = GivenData.of(named, labels, class_names, targets, tokens)
    given = {"model": model, "dataset": data, "target": said, "engines": _engines(engines), "score": score}
    given |= {"explain": _explained(named), **sections}
    return _temporary(given) if output is None else _result(given, Path(output), overwrite)


def _targets(target: Any, class_names: Sequence[Any]) -> tuple[Any, Any]:
    """What a job has under `target`, and the target of each sample, if each has its own."""
    if isinstance(target, Tensor | np.ndarray | np.generic):
        target = target.tolist()
    if isinstance(target, list):
        return {"column": TARGETS}, target
    is_misspelt = isinstance(target, str) and not len(class_names)  # unless it is a word that a job knows
    return target if is_misspelt else named_target(target), None


def _explained(inputs: Any) -> Any:
    """What a job has under `explain`: all inputs, or the floating ones if there are others beside them."""
    if not isinstance(inputs, Mapping):
        return "inputs"
    floating = [name for name, values in inputs.items() if _is_floating(values)]
    return {"inputs": floating} if 0 < len(floating) < len(inputs) else "inputs"


def _is_floating(values: Any) -> bool:
    if isinstance(values, Tensor):
        return values.is_floating_point()
    first = values[0] if isinstance(values, list | tuple) and len(values) else values
    return _is_floating(first) if isinstance(first, Tensor) else np.asarray(first).dtype.kind not in "biu"


def _engines(engines: Any) -> Any:
    """Engines with their options; baselines in memory become ones that a job can have."""
    if isinstance(engines, str):
        return engines
    return _with_baselines(engines) if isinstance(engines, Mapping) else list(engines)


def _with_baselines(options: Mapping[str, Any]) -> dict[str, Any]:
    found = {
        key: _with_baselines(value) if isinstance(value, Mapping) else value for key, value in options.items()
    }
    given = options.get("baseline")
    if isinstance(given, int | float):
        found["baseline"] = {"kind": "constant", "value": float(given)}
    elif isinstance(given, Tensor | np.ndarray) or (isinstance(given, Mapping) and _are_arrays(given)):
        found["baseline"] = GivenBaseline.of(given)
    return found


def _are_arrays(options: Mapping[str, Any]) -> bool:
    return bool(options) and all(isinstance(value, Tensor | np.ndarray) for value in options.values())


def _temporary(options: Mapping[str, Any]) -> ResultView:
    """A result in a folder that goes when nobody holds the result any more."""
    folder = mkdtemp(prefix="xattr-cli-")
    try:
        results = _result(options, Path(folder, "result.h5"), overwrite=False)
    except BaseException:
        _remove(folder)
        raise
    weakref.finalize(results, _remove, folder)
    return results


def _result(options: Mapping[str, Any], path: Path, overwrite: bool) -> ResultView:
    output = {"path": path, "store_inputs": "all", **options.get("output", {})}
    job = check_job({**options, "output": output}, folder=Path.cwd())
    run_job(job, overwrite=overwrite, command_line="xattr_cli.explain")
    return ResultView.open(path)


def _remove(folder: str) -> None:
    """Delete a temporary folder and what is in it."""
    shutil.rmtree(folder, ignore_errors=True)
