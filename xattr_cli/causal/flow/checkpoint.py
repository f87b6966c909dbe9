"""Fitted flows as safetensors files: weights, and beside them all that it takes to use them again."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...errors import JobError, StoreError
from ...importing import import_optional
from ..graph.graph import Graph, listed
from ..options import FlowOptions
from .conditioner import import_zuko
from .encoding import Encoding
from .mechanisms import Mechanisms
from .model import FlowModel
from .units import plain_unit, unit_of_plain

__all__ = ["SavedFlow", "load_flow", "save_flow"]

FORMAT = "xattr-cli-flow/1"
CURVE = "training.curve"


@dataclass(frozen=True)
class SavedFlow:
    """A fitted flow, and how the fit went.

    Attributes:
        model: the flow.
        names: of the columns of a row.
        options: of the fit.
        curve, best, exhausted: see `fitting.Fit`.
        likelihood: mean log-likelihood of the rows that were held out.
        rows: number of rows it was fitted to.
    """

    model: FlowModel
    names: tuple[str, ...]
    options: FlowOptions
    curve: torch.Tensor
    best: int
    exhausted: bool
    likelihood: float
    rows: int


def save_flow(path: Path, saved: SavedFlow) -> None:
    """Write a flow; the file appears complete or not at all.

    Raises:
        JobError: safetensors is missing.
        StoreError: the file cannot be written.
    """
    safetensors = _safetensors(path)
    tensors = {name: tensor.contiguous() for name, tensor in saved.model.mechanisms.cpu().state_dict().items()}
    metadata = {"format": FORMAT, "flow": json.dumps(_description(saved))}
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(safetensors.save({**tensors, CURVE: saved.curve}, metadata))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: the flow cannot be written: {error}.") from error


def load_flow(path: Path, names: Sequence[str], graph: Graph | None) -> SavedFlow:
    """Read a flow that fits the job.

    Arguments:
        path: of the file.
        names: of the columns of the data.
        graph: that the job gives; None takes that of the file.

    Raises:
        JobError: no such file, no flow, a damaged one, or one of other columns or another graph.
    """
    safetensors = _safetensors(path)
    if not path.is_file():
        raise JobError(f"flow: {path}: no such file.")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.load_file(path)
    except Exception as error:  # SafetensorError is no subclass of anything more telling
        raise JobError(f"flow: {path}: is truncated or damaged, or no safetensors file ({error}).") from error
    if metadata.get("format") != FORMAT:
        raise JobError(
            f"flow: {path}: holds no fitted flow of this format ({FORMAT}), but {metadata.get('format')!r}."
        )
    try:
        saved = _restored(json.loads(metadata["flow"]), tensors)
    except (KeyError, TypeError, ValueError, RuntimeError, JobError) as error:
        raise JobError(f"flow: {path}: is damaged: {type(error).__name__}: {error}.") from error
    _check_fits(path, saved, names, graph)
    return saved


# --- the description ----------------------------------------------------------------------------


def _description(saved: SavedFlow) -> dict[str, Any]:
    encoding = saved.model.encoding
    return {
        "names": list(saved.names),
        "graph": encoding.graph.plain(),
        "units": [plain_unit(unit) for unit in encoding.units],
        "owner": list(encoding.owner),
        "options": {**saved.options.model_dump(mode="json"), "hidden": list(saved.model.mechanisms.hidden)},
        "best": saved.best,
        "exhausted": saved.exhausted,
        "likelihood": saved.likelihood,
        "rows": saved.rows,
        "zuko": import_zuko().__version__,
        "torch": torch.__version__,
    }


def _restored(plain: dict[str, Any], tensors: dict[str, torch.Tensor]) -> SavedFlow:
    options = FlowOptions.model_validate(plain["options"])
    units = tuple(unit_of_plain(unit) for unit in plain["units"])
    encoding = Encoding(_graph(plain["graph"]), units, tuple(plain["owner"]))
    with torch.random.fork_rng(devices=[]):
        mechanisms = Mechanisms(encoding, options.hidden or (), options.bins).double()
    curve = tensors.pop(CURVE)
    mechanisms.load_state_dict(tensors)
    return SavedFlow(
        FlowModel.of(mechanisms.eval().requires_grad_(False)),
        tuple(plain["names"]),
        options,
        curve,
        plain["best"],
        plain["exhausted"],
        plain["likelihood"],
        plain["rows"],
    )


def _graph(plain: dict[str, Any]) -> Graph:
    parents: list[list[int]] = [[] for _ in plain["nodes"]]
    for cause, effect in plain["edges"]:
        parents[effect].append(cause)
    columns = tuple(tuple(held) for held in plain["columns"])
    return Graph(tuple(plain["nodes"]), tuple(map(tuple, parents)), columns)


def _check_fits(path: Path, saved: SavedFlow, names: Sequence[str], graph: Graph | None) -> None:
    if tuple(names) != saved.names:
        raise JobError(
            f"flow: {path}: was fitted to the columns {listed(saved.names)}, but the data have {listed(names)}."
        )
    fitted = saved.model.graph
    if graph is not None and (graph.columns, graph.parents) != (fitted.columns, fitted.parents):
        raise JobError(
            f"flow: {path}: was fitted along another graph. Its edges: {fitted.arrows()}. Those of the job: "
            f"{graph.arrows()}. Fit a new one, or leave graph and order out to take that of the file."
        )


def _safetensors(path: Path) -> Any:
    return import_optional(
        "safetensors.torch", needed_by=f"the flow {path}", install="xattr-cli[icc]", error=JobError
    )
