"""What `icc` and `sobol` leave in the file: names, shapes and labels of their arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...numerics.sensitivity.replicates import ReplicateEstimate
from ...numerics.student import NORMAL_95
from ..base import Effects

if TYPE_CHECKING:
    from ...numerics.sensitivity.contributions import Contributions

__all__ = ["Values", "assemble_contributions"]

Values = dict[str, np.ndarray | tuple[str, ...]]


def assemble_contributions(
    contributions: Contributions,
    *,
    exact: bool,
    replicates: int,
    nodes: Sequence[str],
    members: Sequence[Sequence[int]],
    features: int,
    ranking: str,
    measure: str = "variance",
    left_out: Sequence[str] = (),
    facts: Values | None = None,
    axes: Mapping[str, tuple[str, ...]] | None = None,
) -> Effects:
    """Effects from contributions.

    Every estimate NAME, (nodes, targets), has a NAME_standard_error and a NAME_interval, (nodes, targets, 2), the
    ends of its 95 % interval; and the same under weighted/, without targets, as shares of the sum of all
    targets' variances.

    Arguments:
        contributions: what was estimated.
        exact: whether from all subsets of the nodes.
        replicates: how many.
        nodes: their names.
        members: per node, its columns in a flat row.
        features: D.
        ranking: the estimate by which features are ranked.
        measure: what is shared out; the name of its values.
        left_out: estimates that are not kept.
        facts: more values.
        axes: labels for the axes of `facts`.
    """
    owner = _node_of_feature(members, features)
    values: Values = {"nodes": tuple(nodes), "node_of_feature": owner}
    labels: dict[str, tuple[str, ...]] = {"nodes": ("node",), "node_of_feature": ("feature",)}
    for key, array, axis in _shares(contributions, left_out):
        values[key], labels[key] = array, axis
    values |= {
        measure: contributions.variance.value.numpy(),
        f"{measure}_standard_error": contributions.variance.standard_error.numpy(),
        "mean": contributions.mean.numpy(),
        "half_width": contributions.half_width.numpy(),
        "estimator": ("exact" if exact else "walk",),
        "draws": np.array(contributions.draws),
        "replicates": np.array(replicates),
    }
    values["importance"] = _importance(contributions.shares[ranking].value.numpy(), owner)
    labels |= dict.fromkeys((measure, f"{measure}_standard_error", "mean", "half_width"), ("target",))
    labels["importance"] = ("feature", "target")
    return Effects(
        values={**values, **(facts or {})},
        evaluations=contributions.evaluations,
        converged=contributions.converged,
        axes={**labels, **(axes or {})},
    )


def _shares(
    contributions: Contributions, left_out: Sequence[str]
) -> Iterator[tuple[str, np.ndarray, tuple[str, ...]]]:
    for name, share in contributions.shares.items():
        if name not in left_out:
            along = ("node", "node") if share.value.ndim == 3 else ("node",)
            yield from _with_errors(name, share, (*along, "target"))
            yield from _with_errors(f"weighted/{name}", contributions.weighted[name], along)


def _with_errors(
    name: str, share: ReplicateEstimate, along: tuple[str, ...]
) -> Iterator[tuple[str, np.ndarray, tuple[str, ...]]]:
    """Name, values and labels of an estimate, its standard errors and its intervals."""
    value, error = share.value.numpy(), share.standard_error.numpy()
    yield name, value, along
    yield f"{name}_standard_error", error, along
    ends = np.stack([value - NORMAL_95 * error, value + NORMAL_95 * error], axis=-1)
    yield f"{name}_interval", ends, (*along, "end")


def _node_of_feature(members: Sequence[Sequence[int]], features: int) -> np.ndarray:
    """(D,) int64 number of the node that each feature belongs to; −1 if to none."""
    owner = np.full(features, -1)
    for node, columns in enumerate(members):
        owner[list(columns)] = node
    return owner


def _importance(shares: np.ndarray, node_of_feature: np.ndarray) -> np.ndarray:
    """(D, targets) the share of each feature's node, 0 where noise made it negative or nothing is known."""
    known = np.concatenate([np.nan_to_num(shares).clip(min=0), np.zeros((1, shares.shape[1]))])
    ranks: np.ndarray = known[node_of_feature]
    return ranks
