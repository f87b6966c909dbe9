"""The Shapley interaction index of the package shapiq, which ours is checked against."""

from __future__ import annotations

import numpy as np
import torch
from shapiq import ExactComputer
from torch import Tensor, nn

from scripts.papers.interactions.interactions_methods import shapley_interactions
from scripts.papers.interactions.interactions_simulation import FEATURES, PAIRS

__all__ = ["difference_from_shapiq"]


def difference_from_shapiq(network: nn.Module, inputs: Tensor) -> float:
    """Largest distance of `shapley_interactions` from what shapiq finds, relative to the largest index."""
    ours = shapley_interactions(network, inputs).numpy()
    theirs = np.stack([_of_shapiq(network, sample) for sample in inputs])
    return float(abs(ours - theirs).max() / abs(theirs).max())


@torch.no_grad()
def _of_shapiq(network: nn.Module, sample: Tensor) -> np.ndarray:
    """(pairs,) of one sample, (features,)."""

    def game(coalitions: np.ndarray) -> np.ndarray:
        return network(sample * torch.from_numpy(coalitions).to(sample))[:, 0].double().numpy()

    found = ExactComputer(game, n_players=FEATURES)("SII", order=2)
    return np.array([found[(i, j)] for i, j in PAIRS.T.tolist()])
