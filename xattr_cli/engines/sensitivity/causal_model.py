"""The causal model of a study: known, read, fitted, or none; a fitted one outlives a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...causal.flow.checkpoint import load_flow
from ...causal.flow.diagnostics import FLOW_AXES, FlowDiagnostics
from ...causal.model import CausalModel
from ...causal.opening import open_causal_model, stated_graph
from .data import gather_columns
from .effects import Values

if TYPE_CHECKING:
    from ..population import Population
    from .options import IccOptions

__all__ = ["StudiedModel", "model_of"]

FILE, TOLD, FIT = "file", "told", "fit"


@dataclass(frozen=True)
class StudiedModel:
    """A causal model, and what is known about its flow.

    Attributes:
        model: from noise to inputs.
        facts: diagnostics of the flow, by name; empty without one.
    """

    model: CausalModel
    facts: Values

    @property
    def axes(self) -> dict[str, tuple[str, ...]]:
        """A label per axis of the facts."""
        return {name: axes for name, axes in FLOW_AXES.items() if name in self.facts}


def model_of(options: IccOptions, population: Population) -> StudiedModel:
    """The causal model that a job asks for.

    Raises:
        JobError, DataError: see `open_causal_model`.
    """
    if options.is_causal and options.scm is None and not isinstance(options.flow, Path):
        return _fitted(options, population)
    model, diagnostics = _open(options, population, population.warn)
    if diagnostics is None:
        return StudiedModel(model, {})
    return StudiedModel(model, {**diagnostics.values(), "flow/noise_names": diagnostics.noise_names})


def _fitted(options: IccOptions, population: Population) -> StudiedModel:
    """A flow that is fitted once: what had been drawn through it before a kill stays true of it."""
    kept = population.once("flow", partial(_fit, options, population))
    path, content = _path(population), kept[FILE].tobytes()
    if not path.is_file() or path.read_bytes() != content:
        path.write_bytes(content)
    for text in filter(None, kept[TOLD].tobytes().decode().splitlines()):
        population.warn(text)
    model = load_flow(path, population.names, stated_graph(options, population.names)).model
    facts = {name: values for name, values in kept.items() if name not in (FILE, TOLD)}
    return StudiedModel(model, {**facts, "flow/noise_names": model.encoding.noise_names})


def _fit(options: IccOptions, population: Population) -> Mapping[str, np.ndarray]:
    told: list[str] = []
    _, diagnostics = _open(options, population, told.append)
    values = {} if diagnostics is None else diagnostics.values()
    return {**values, FILE: _bytes(_path(population).read_bytes()), TOLD: _bytes("\n".join(told).encode())}


def _open(
    options: IccOptions, population: Population, tell: Callable[[str], None]
) -> tuple[CausalModel, FlowDiagnostics | None]:
    return open_causal_model(
        options,
        gather_columns(population),
        population.names,
        seed=int(population.generator().integers(2**31)),
        save_to=_path(population),
        tell=tell,
        progress=population.progress,
        memory=_FitMemory(population),
    )


@dataclass(frozen=True)
class _FitMemory:
    """The memory of a population engine, for its fit; see `causal.flow.resuming.FitMemory`."""

    population: Population

    def recall(self) -> Mapping[str, np.ndarray] | None:
        return self.population.memo.recall(self.population.label, FIT)

    def keep(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.population.memo.keep(self.population.label, FIT, arrays)


def _path(population: Population) -> Path:
    return population.artifact(".flow.safetensors")


def _bytes(content: bytes) -> np.ndarray:
    return np.frombuffer(content, dtype=np.uint8)
