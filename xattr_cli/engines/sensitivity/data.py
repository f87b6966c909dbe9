"""Columns of a dataset, gathered as far as memory allows, and the marginals that a job asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import DataError
from ...numerics.sensitivity.marginals import (
    ExponentialMarginal,
    IndependentInputs,
    LogNormalMarginal,
    LogUniformMarginal,
    Marginal,
    NormalMarginal,
    RowsMarginal,
    TriangularMarginal,
    TruncatedNormalMarginal,
    UniformMarginal,
)
from ..features import FeatureSelection, resolve, wanted_features

if TYPE_CHECKING:
    from ..population import Population
    from .options import MarginalOption, SobolOptions

__all__ = ["gather_columns", "independent_inputs", "input_groups"]

MEMORY_SHARE = 8
"""Of what may be held, the columns take one part in so many: they are copied, sorted and looked up."""


def gather_columns(population: Population) -> np.ndarray:
    """(n, D) float64 of the finite samples: all of them, or as many, evenly spread, as fit into memory."""
    most = max(2, population.memory_bytes // (MEMORY_SHARE * 8 * population.layout.size))
    stride = -(-population.samples // most)
    rows = [block.points.double().cpu().numpy()[block.index % stride == 0] for block in population.blocks()]
    columns = np.concatenate(rows) if rows else np.empty((0, population.layout.size))
    if stride > 1:
        population.warn(
            f"every {stride}th sample was read, {len(columns)} of {population.samples}, to fit into memory"
        )
    return columns


def input_groups(options: SobolOptions, names: Sequence[str]) -> list[FeatureSelection]:
    """The inputs of a study: groups and single features, in the order of their first columns.

    Raises:
        JobError: an unknown feature, or one that is named twice.
    """
    groups = sorted(wanted_features(names, (), options.groups), key=lambda group: int(group.members.min()))
    for name in options.given:
        if name not in options.groups:
            resolve(name, names, "given")
    return groups


def independent_inputs(
    options: SobolOptions, groups: Sequence[FeatureSelection], names: Sequence[str], columns: np.ndarray
) -> IndependentInputs:
    """The distribution of the inputs that a job asks for.

    Arguments:
        options: of the engine.
        groups: from `input_groups`.
        names: of the features.
        columns: (n, D) data.

    Raises:
        DataError: a marginal is to be taken from the data, but these have fewer than two rows.
    """
    pieces = [
        (number, piece, asked)
        for number, group in enumerate(groups)
        for piece, asked in _pieces(group, options, names)
    ]
    return IndependentInputs(
        [piece.members.tolist() for _, piece, _ in pieces],
        [_marginal(piece, asked, columns) for _, piece, asked in pieces],
        [number for number, _, _ in pieces],
    )


def _pieces(
    group: FeatureSelection, options: SobolOptions, names: Sequence[str]
) -> list[tuple[FeatureSelection, MarginalOption]]:
    """What of a group is drawn by itself, and from what; members that come from the data are drawn together."""
    usual = options.given.get(group.name, options.marginals)
    asked = {column: options.given.get(names[column], usual) for column in group.members.tolist()}
    together = [column for column, marginal in asked.items() if marginal == "data"]
    alone: list[tuple[FeatureSelection, MarginalOption]] = [
        (FeatureSelection(names[column], np.array([column])), marginal)
        for column, marginal in asked.items()
        if marginal != "data"
    ]
    if not together:
        return alone
    return [(FeatureSelection(group.name, np.array(together), group.is_group), "data"), *alone]


_MARGINALS: dict[str, Callable[..., Marginal]] = {
    "uniform": UniformMarginal,
    "normal": NormalMarginal,
    "lognormal": LogNormalMarginal,
    "loguniform": LogUniformMarginal,
    "triangular": TriangularMarginal,
    "truncated_normal": TruncatedNormalMarginal,
    "exponential": ExponentialMarginal,
}


def _marginal(piece: FeatureSelection, asked: MarginalOption, columns: np.ndarray) -> Marginal:
    if isinstance(asked, str):
        return _from_data(piece, asked, columns)
    ((kind, numbers),) = asked.items()
    if kind == "values":
        return RowsMarginal.of(torch.tensor(numbers, dtype=torch.float64)[:, None])
    return _MARGINALS[kind](*numbers)


def _from_data(group: FeatureSelection, kind: str, columns: np.ndarray) -> Marginal:
    if len(columns) < 2:
        raise DataError(
            f"marginals: {group.name!r} is to be drawn from the data, which have {len(columns)} finite rows; "
            "2 are needed. Give more data, or its distribution, such as {uniform: [0, 1]}."
        )
    held = columns[:, group.members]
    if kind == "uniform":
        return UniformMarginal(float(held.min()), float(held.max()))
    if kind == "normal":
        return NormalMarginal(float(held.mean()), float(held.std(ddof=1)))
    return RowsMarginal.of(torch.from_numpy(held))
