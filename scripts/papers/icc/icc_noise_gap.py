"""PGU in the noise: how far predictions move while the least important inputs lose what they originate themselves.

The paper's PGU sets an input to zero and leaves its effects as they are: it asks what the network reads. An
intrinsic contribution says something else, how much of the output's variation an input originates. Here the
input's own noise is set to its median, and everything that it causes follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from xattr_cli.causal.flow.checkpoint import load_flow
from xattr_cli.causal.flow.model import FlowModel

__all__ = ["noise_gaps"]

RANDOM_ORDERS = 20


def noise_gaps(
    flow: Path,
    columns: Sequence[str],
    net: nn.Module,
    rows: np.ndarray,
    rankings: Mapping[str, np.ndarray],
    seed: int,
) -> dict[str, float]:
    """Mean over rows and k = 1..d of |f(x) − f(x_k)|, the noise of the k least important inputs at its median.

    Arguments:
        flow: the fitted noise model, one node per column.
        columns: names.
        net: (n, d) -> (n, 1).
        rows: (n, d) inputs.
        rankings: name -> (d,) importance; a random order joins them.
        seed: of the random orders, and of the noise that categories leave open.
    """
    model = load_flow(flow, columns, None).model
    noise = model.noise(torch.from_numpy(rows), seed)
    start = _predicted(model, net, noise)

    @cache
    def gap(silent: frozenset[int]) -> float:
        moved = noise.clone()
        moved[:, list(silent)] = 0
        return float((_predicted(model, net, moved) - start).abs().mean())

    def mean_gap(order: np.ndarray) -> float:
        return float(np.mean([gap(frozenset(order[: k + 1].tolist())) for k in range(len(order))]))

    rng = np.random.default_rng(seed)
    shuffled = [mean_gap(rng.permutation(len(columns))) for _ in range(RANDOM_ORDERS)]
    gaps = {name: mean_gap(np.argsort(values, kind="stable")) for name, values in rankings.items()}
    return {**gaps, "(random)": float(np.mean(shuffled))}


@torch.no_grad()
def _predicted(model: FlowModel, net: nn.Module, noise: Tensor) -> Tensor:
    found: Tensor = net(model.inputs(noise).float())[:, 0]
    return found
