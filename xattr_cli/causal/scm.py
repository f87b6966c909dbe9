"""Structural causal models that somebody knows: a Python callable from noise to inputs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import JobError
from ..importing import import_callable, importable_from
from .graph.graph import Graph
from .model import GraphModel

__all__ = ["ExplicitModel", "import_scm"]


@dataclass(frozen=True)
class ExplicitModel(GraphModel):
    """A structural causal model given as a callable; one noise coordinate per node.

    Attributes:
        graph: over the inputs.
        function: standard normal noise (n, nodes), a float64 tensor on the CPU → inputs (n, D), a tensor or
            an array. It draws nothing itself.
        name: what errors call it.
    """

    function: Callable[[Tensor], Any]
    name: str

    @property
    def width(self) -> int:
        """D, the columns of a row."""
        return sum(map(len, self.columns))

    def inputs(self, noise: Tensor) -> Tensor:
        """(n, D) inputs from (n, nodes) noise.

        Raises:
            JobError: the callable fails, or returns what is no finite array of that shape.
        """
        with torch.no_grad(), contextlib.redirect_stdout(sys.stderr):
            try:
                given = self.function(noise.detach().cpu().double().clone())
                values = torch.as_tensor(np.asarray(given) if not isinstance(given, Tensor) else given)
            except (Exception, SystemExit) as error:
                raise JobError(
                    f"scm: {self.name} failed on noise of shape {tuple(noise.shape)}, a float64 tensor: "
                    f"{type(error).__name__}: {error}."
                ) from error
        self._check(values, len(noise))
        return values.to(dtype=noise.dtype).to(noise.device)

    def _check(self, values: Tensor, rows: int) -> None:
        wanted = (rows, self.width)
        if tuple(values.shape) != wanted:
            raise JobError(
                f"scm: {self.name} returned shape {tuple(values.shape)} for noise of shape "
                f"{(rows, len(self.nodes))}, but must return {wanted}: a column for each of the inputs."
            )
        if not torch.isfinite(values).all():
            column = int((~torch.isfinite(values)).any(dim=0).nonzero()[0, 0])
            raise JobError(
                f"scm: {self.name} returned NaN or infinity in column {column}. It must be finite for all noise."
            )


def import_scm(reference: str, graph: Graph, folder: Path) -> ExplicitModel:
    """The model that a job names as `module:callable`; not checked yet, see `scm_checks`.

    Raises:
        JobError: it cannot be imported.
    """
    with contextlib.redirect_stdout(sys.stderr):
        function = import_callable(reference, folder, "scm")

    def call(noise: Tensor) -> Any:
        with importable_from(folder):
            return function(noise)

    return ExplicitModel(graph, call, reference)
