"""The package of the paper on integrated Hessians, path-explain: its numbers, its time, and its time foreseen."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from importlib.metadata import distribution
from math import ceil
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["foreseen_seconds", "interactions", "smallest_samples"]

SOURCE = "path_explain/explainers/path_explainer_torch.py"
TIMED_FEATURES = 4
FEWEST_ROOT = 20


def explainer(module: nn.Module) -> Any:
    """Its explainer for PyTorch; the package itself imports TensorFlow, but that file does not."""
    return _source().PathExplainerTorch(module)


def _source() -> ModuleType:
    files = {str(file): file for file in distribution("path-explain").files or ()}
    spec = importlib.util.spec_from_file_location("path_explainer_torch", str(files[SOURCE].locate()))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def interactions(module: nn.Module, inputs: Tensor, samples: int) -> Tensor:
    """(rows, D, D), from a zero baseline, as its README calls it; `samples` are split into root × root nodes."""
    found = explainer(module).interactions(
        inputs.clone().requires_grad_(),
        torch.zeros_like(inputs[:1]),
        num_samples=samples,
        use_expectation=False,
        output_indices=torch.zeros(len(inputs), dtype=torch.int64),
        verbose=False,
    )
    return found.detach()


def smallest_samples(
    module: nn.Module, inputs: Tensor, truth: Tensor, error: Callable[[Tensor, Tensor], Tensor], most: float
) -> tuple[int, float]:
    """The smallest square number of samples, as far as its error goes with 1 / root, that is at most `most`."""
    root = FEWEST_ROOT
    while True:
        found = float(error(interactions(module, inputs, root**2), truth).mean())
        print(f"  path-explain, {root**2} samples: mean error {found:.2%}", flush=True)
        if found <= most:
            return root**2, found
        root = max(root + 1, ceil(root * found / most))


def foreseen_seconds(module: nn.Module, inputs: Tensor, samples: int, *, rows_of_matrix: int) -> float:
    """Processor time of `interactions`, or of some rows of each matrix, extrapolated from a part of its loops.

    It takes root(samples) outer nodes; at each, root(samples) gradients that keep their graphs, then one backward
    pass through all of these for every row of the matrix. All outer nodes cost the same, and so do all rows: one
    node and a few rows are timed, with the very calls that it makes.
    """
    nodes = round(np.sqrt(samples))
    theirs, baseline = explainer(module), torch.zeros_like(inputs[:1])
    slice_ = (0.5 * inputs).requires_grad_()
    began = time.process_time()
    first = theirs.attributions(
        slice_, baseline, num_samples=nodes, use_expectation=False,
        output_indices=torch.zeros(len(inputs), dtype=torch.int64),
    )  # fmt: skip
    gradients = time.process_time() - began
    timed = min(TIMED_FEATURES, rows_of_matrix)
    began = time.process_time()
    for feature in range(timed):
        column = first[:, feature]
        torch.autograd.grad(column, slice_, torch.ones_like(column), create_graph=True)[0].detach()
    products = (time.process_time() - began) / timed
    return nodes * (gradients + rows_of_matrix * products)
