"""From what a job says about causes to a causal model that is checked, fitted and diagnosed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..errors import DataError
from .flow.checkpoint import SavedFlow, load_flow, save_flow
from .flow.conditioner import import_zuko
from .flow.detection import find_units
from .flow.diagnostics import FlowDiagnostics, diagnose, generate, wasserstein_distances
from .flow.encoding import Encoding
from .flow.fitting import fit_mechanisms
from .flow.model import FlowModel
from .flow.resuming import FitMemory
from .flow.verdict import flow_warnings
from .graph.files import read_graph
from .graph.graph import Graph, listed
from .model import CausalModel, EmpiricalMarginals
from .options import CausalOptions, FlowOptions
from .scm import check_scm, discover_graph, import_scm

__all__ = ["open_causal_model", "stated_graph"]

LEAST_ROWS = 100
ROWS_PER_COLUMN = 10
"""Rows that a flow needs; with fewer its diagnostics could not tell a good fit from a bad one."""
MOST_COMPARED = 20_000
FAR_FROM_DATA = 0.25
"""Standard deviations between the data and what a known model gives; for a wrong scale it is 1 or more."""


def stated_graph(options: CausalOptions, names: Sequence[str]) -> Graph | None:
    """The graph that a job states, by `graph` or `order`; None if it states neither.

    Raises:
        JobError: it is wrong, or misses a column.
    """
    if options.graph is not None:
        return read_graph(options.graph, names, options.folder)
    if options.order is not None:
        return Graph.from_order(options.order, names)
    return None


def open_causal_model(
    options: CausalOptions,
    columns: np.ndarray,
    names: Sequence[str],
    *,
    seed: int,
    save_to: Path,
    tell: Callable[[str], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
    memory: FitMemory | None = None,
) -> tuple[CausalModel, FlowDiagnostics | None]:
    """The causal model of the inputs that a job asks for.

    A known model (`scm`) is imported and checked; its graph, if none is stated, is found by moving its noise.
    A fitted flow is read where `flow` is a path. With a graph or an order, a flow is fitted and saved. With
    nothing, the columns are independent, and the model says `causal = False`.

    Arguments:
        options: what the job says.
        columns: (n, D) rows of the data, finite.
        names: of the columns.
        seed: of everything that is drawn.
        save_to: where a fitted flow goes, a safetensors file.
        tell: hears every warning.
        progress: told the epochs done, and the most there can be.
        memory: of a fit on its way; None for none.

    Returns:
        the model, and diagnostics of the flow if there is one.

    Raises:
        JobError, DataError: the graph, the model or the flow does not fit the data, or these cannot be fitted.
    """
    _check_columns(columns, names)
    graph = stated_graph(options, names)
    if options.scm is not None:
        return _explicit(options, options.scm, graph, columns, names, seed, tell), None
    if isinstance(options.flow, Path):
        saved = load_flow(options.flow, names, graph)
        _check_categories(options.flow, saved, columns, names)
        return saved.model, _judged(saved, columns, np.arange(len(columns)), seed, tell)
    if graph is None:
        return EmpiricalMarginals.of(columns, names), None
    saved, held_out = _fitted(graph, options.flow, columns, names, seed, progress, memory)
    judged = _judged(saved, columns, held_out, seed, tell)
    save_flow(save_to, replace(saved, likelihood=judged.likelihood))
    return saved.model, judged


# --- the kinds ----------------------------------------------------------------------------------


def _explicit(
    options: CausalOptions,
    reference: str,
    graph: Graph | None,
    columns: np.ndarray,
    names: Sequence[str],
    seed: int,
    tell: Callable[[str], None],
) -> CausalModel:
    model = import_scm(reference, graph or Graph.independent(names), options.folder)
    if graph is None:
        model = replace(model, graph=discover_graph(model, seed))
        tell(f"scm: no graph is stated; moving the noise of {reference} shows the edges {model.graph.arrows()}")
    check_scm(model, options.discrete, seed)
    drawn = generate(model, min(len(columns), MOST_COMPARED), seed)
    bound = max(FAR_FROM_DATA, 4 / len(columns) ** 0.5)
    for name, distance in zip(names, wasserstein_distances(drawn, columns), strict=True):
        if not distance <= bound:
            tell(
                f"scm: what {reference} gives for {name!r} differs from the data by {distance:.2g} standard "
                "deviations (Wasserstein distance). It must give inputs as the network takes them, scaled alike."
            )
    return model


def _fitted(
    graph: Graph,
    options: FlowOptions,
    columns: np.ndarray,
    names: Sequence[str],
    seed: int,
    progress: Callable[[int, int], None],
    memory: FitMemory | None,
) -> tuple[SavedFlow, np.ndarray]:
    import_zuko()
    units, owner = find_units(graph, columns, names, options.kinds)
    _check_rows(len(columns), len(names))
    rows = torch.from_numpy(columns.astype(np.float64))
    encoding = Encoding(graph, units, owner)
    fit = fit_mechanisms(encoding, rows, options, seed=seed, progress=progress, memory=memory)
    curve = torch.from_numpy(fit.curve)
    model = FlowModel.of(fit.mechanisms)
    return (
        SavedFlow(model, tuple(names), options, curve, fit.best, fit.exhausted, float("nan"), len(columns)),
        fit.held_out,
    )


def _judged(
    saved: SavedFlow, columns: np.ndarray, held_out: np.ndarray, seed: int, tell: Callable[[str], None]
) -> FlowDiagnostics:
    diagnostics = diagnose(
        saved.model,
        columns,
        saved.names,
        held_out=held_out,
        curve=saved.curve.numpy(),
        best=saved.best,
        exhausted=saved.exhausted,
        promised=saved.likelihood,
        seed=seed,
    )
    diagnostics = replace(diagnostics, warnings=flow_warnings(diagnostics))
    for text in diagnostics.warnings:
        tell(text)
    return diagnostics


# --- checks -------------------------------------------------------------------------------------


def _check_columns(columns: np.ndarray, names: Sequence[str]) -> None:
    if columns.ndim != 2 or columns.shape[1] != len(names):
        raise DataError(f"the data have shape {columns.shape}, but {len(names)} columns are named.")
    if len(columns) == 0:
        raise DataError("the data have no rows.")
    if not np.isfinite(columns).all():
        raise DataError("the data hold NaN or infinity; a causal model needs rows without.")


def _check_rows(rows: int, columns: int) -> None:
    needed = max(LEAST_ROWS, ROWS_PER_COLUMN * columns)
    if rows < needed:
        raise DataError(
            f"the data have {rows} rows, but a flow over {columns} columns needs at least {needed}: "
            f"{ROWS_PER_COLUMN} per column and never fewer than {LEAST_ROWS}. Give more data, or a known model "
            "as scm."
        )


def _check_categories(path: Path, saved: SavedFlow, columns: np.ndarray, names: Sequence[str]) -> None:
    """A category that the flow has never seen would be taken for another one."""
    rows = torch.from_numpy(columns.astype(np.float64))
    for unit in saved.model.encoding.categories:
        held = rows[:, list(unit.columns)]
        strange = (unit.decode(unit.number(held)) - held).abs().amax(dim=1) > 1e-4
        if strange.any():
            value = held[strange][0].tolist()
            raise DataError(
                f"flow: {path}: knows no category {value if len(value) > 1 else value[0]} of "
                f"{listed(names[j] for j in unit.columns)}, which {int(strange.sum())} rows have. Fit a new one."
            )
