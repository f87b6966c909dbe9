"""Columns of a dataset, gathered as far as memory allows, and the marginals that a job asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ...errors import DataError, JobError
from ...numerics.sensitivity.marginals import (
    IndependentInputs,
    Marginal,
    NormalMarginal,
    RowsMarginal,
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
        JobError: an unknown feature, one that is named twice, or a marginal for a feature of a group.
    """
    groups = sorted(wanted_features(names, (), options.groups), key=lambda group: int(group.members.min()))
    for name in options.given:
        column = resolve(name, names, "given")
        holder = next(group for group in groups if column in group.members)
        if holder.is_group:
            raise JobError(
                f"given.{name}: is in the group {holder.name!r}, whose features are drawn together from the data. "
                "Take it out of the group, or leave its marginal away."
            )
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
    marginals = [_marginal(group, _asked(group, options, names), columns) for group in groups]
    return IndependentInputs([group.members.tolist() for group in groups], marginals)


def _asked(group: FeatureSelection, options: SobolOptions, names: Sequence[str]) -> MarginalOption:
    if group.is_group:
        return "data"
    return options.given.get(names[int(group.members[0])], options.marginals)


def _marginal(group: FeatureSelection, asked: MarginalOption, columns: np.ndarray) -> Marginal:
    if isinstance(asked, str):
        return _from_data(group, asked, columns)
    ((kind, numbers),) = asked.items()
    if kind == "uniform":
        return UniformMarginal(*numbers)
    if kind == "normal":
        return NormalMarginal(*numbers)
    return RowsMarginal.of(torch.tensor(numbers, dtype=torch.float64)[:, None])


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
