"""Options of a causal model: the graph or order that is assumed, a known model, or how a flow is fitted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, model_validator

from ..job.config import JobPath
from ..registry import Options

__all__ = ["CausalOptions", "FlowOptions"]


class FlowOptions(Options):
    """How the noise model is fitted: a masked autoregressive neural spline flow.

    Every node has a mechanism given its parents, u = spline((r − shift) / scale) with r the residual of a
    linear regression, all three conditional on the parents by one masked network; see `causal.flow`.
    """

    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] | None = Field(
        default=None,
        description="units per hidden layer of the masked network; null takes two layers, with 12 units for "
        "each different set of parents, at least 64 and at most 384",
    )
    bins: int = Field(default=8, ge=2, le=64, description="of every spline, on [-5, 5]")
    learning_rate: float = Field(default=5e-3, gt=0, le=1, description="of Adam; lowered twice on a plateau")
    batch_rows: int = Field(default=256, ge=1, description="rows per step")
    epochs: int = Field(default=500, ge=1, description="at most; reaching it is warned of")
    patience: int = Field(
        default=30, ge=1, description="epochs without a better held-out likelihood after which the fit ends"
    )
    held_out: float = Field(default=0.15, gt=0, lt=0.9, description="share of the rows that training never sees")
    kinds: dict[str, Literal["continuous", "integer", "categorical"]] = Field(
        default={},
        description="what a column is, where the data would mislead: by default up to 10 distinct values are "
        "categories, a regular grid of up to 256 is integer, and all else continuous",
    )


class CausalOptions(Options):
    """What causes what among the inputs, and where their noise comes from.

    Attributes:
        graph: path of a file, or a mapping from each node to its parents.
        order: all columns, causes first; every one may be caused by all before it.
        scm: a known structural causal model as `module:callable`; then nothing is fitted.
        discrete: nodes of the `scm` that may be step functions of their noise, or true for all.
        flow: how the flow is fitted, or the path of one that was.
    """

    graph: JobPath | dict[str | int, Any] | None = Field(
        default=None,
        description="causal graph: a file (.yaml, .graphml, networkx .json or .adjlist), or child: [parents]",
    )
    order: tuple[str, ...] | None = Field(
        default=None, description="instead of a graph: all columns, causes first", min_length=1
    )
    scm: str | None = Field(
        default=None,
        description="known model as module:callable, standard normal noise (n, nodes) → inputs (n, columns)",
    )
    discrete: bool | tuple[str, ...] = Field(
        default=False, description="nodes of the scm that may be step functions of their noise, or true for all"
    )
    flow: FlowOptions | JobPath = Field(
        default=FlowOptions(), description="how the noise model is fitted, or the path of a fitted one"
    )

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    def model_post_init(self, context: Any) -> None:
        """Remember the folder of the job file, as paths do."""
        self._folder = Path((context or {}).get("folder", Path.cwd()))

    @property
    def folder(self) -> Path:
        """Folder of the job file."""
        return self._folder

    @property
    def is_causal(self) -> bool:
        """Whether anything says what causes what."""
        return bool(self.graph is not None or self.order is not None or self.scm or isinstance(self.flow, Path))

    @model_validator(mode="after")
    def _one_source_of_causes(self) -> CausalOptions:
        if self.graph is not None and self.order is not None:
            raise ValueError("graph and order are both given; keep the graph, which says more, or the order")
        if self.scm is not None and isinstance(self.flow, Path):
            raise ValueError("scm and the path of a flow are both given; keep one of them")
        if self.discrete and self.scm is None:
            raise ValueError("discrete goes with scm; a flow finds out by itself which columns are discrete")
        return self
