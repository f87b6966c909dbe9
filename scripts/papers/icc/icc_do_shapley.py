"""do-Shapley values: what the inputs of a row share when setting them, and letting effects follow, is the game.

Reference: Jung et al. 2022, "On measuring causal contributions via do-interventions", ICML; the value of a
coalition is E[f(X) | do(X_S = x_S)]. The structural model is the fitted flow: an input is set by the noise that
gives it the value under the parents that it has, so that everything it causes follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
from torch import Tensor, nn

from xattr_cli.causal.model import GraphModel

__all__ = ["do_shapley", "set_inputs"]

EXACT = 4  # inputs of which all orders are taken
ORDERS = 12
ROWS, DRAWS = 60, 32


@torch.no_grad()
def do_shapley(
    model: GraphModel, net: nn.Module, rows: np.ndarray, seed: int, *, explained: int = ROWS, draws: int = DRAWS
) -> np.ndarray:
    """(explained, features) values of the first rows; over all orders of few inputs, or some.

    Arguments:
        model: inputs from noise, and noise from inputs; a node per column.
        net: (n, features) -> (n, 1).
        rows: (n, features) float32.
        seed: of orders and noise.
        explained: rows.
        draws: of the noise, the same for every coalition.
    """
    features = rows.shape[1]
    rng = np.random.default_rng(seed)
    orders = (
        [*permutations(range(features))]
        if features <= EXACT
        else [rng.permutation(features) for _ in range(ORDERS)]
    )
    wanted = torch.from_numpy(rows[:explained]).double().repeat_interleave(draws, dim=0)
    noise = torch.randn(draws, sum(model.noise_dims), generator=torch.Generator().manual_seed(seed)).double()
    every = noise.repeat(len(rows[:explained]), 1)
    topological = list(model.graph.order)
    known: dict[frozenset[int], np.ndarray] = {}

    def value(coalition: frozenset[int]) -> np.ndarray:
        if coalition not in known:
            chosen = [node for node in topological if node in coalition]
            moved = set_inputs(model, every, wanted, chosen)
            known[coalition] = net(moved.float())[:, 0].double().view(-1, draws).mean(dim=1).numpy()
        return known[coalition]

    shares = np.zeros((len(rows[:explained]), features))
    for order in orders:
        before: frozenset[int] = frozenset()
        for feature in map(int, order):
            after = before | {feature}
            shares[:, feature] += value(after) - value(before)
            before = after
    return shares / len(orders)


def set_inputs(model: GraphModel, noise: Tensor, wanted: Tensor, nodes: Sequence[int]) -> Tensor:
    """(n, features) inputs from noise (n, features), with `nodes`, causes first, set to `wanted` (n, features)."""
    given = noise.clone()
    inputs = model.inputs(given)
    for node in nodes:
        inputs[:, node] = wanted[:, node]
        given[:, node] = model.noise(inputs, 0)[:, node]
        inputs = model.inputs(given)
    inputs[:, list(nodes)] = wanted[:, list(nodes)]  # up to rounding they are
    return inputs
