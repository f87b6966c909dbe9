"""How strong a network's interactions are, by the product's engines and by the methods beside them."""

from __future__ import annotations

from math import comb
from pathlib import Path

import torch
from torch import Tensor, nn

from scripts.papers.interactions.interactions_ensemble import HIDDEN
from scripts.papers.interactions.interactions_product import explain, interactions
from scripts.papers.interactions.interactions_simulation import FEATURES, PAIRS

__all__ = [
    "EXPECTED",
    "HESSIAN",
    "INTEGRATED",
    "SHAPLEY",
    "TIMES_INPUT",
    "hessians",
    "of_pairs",
    "shapley_interactions",
    "smoothed",
    "strengths",
]

INTEGRATED, EXPECTED = "integrated Hessians", "expected Hessians"
HESSIAN, TIMES_INPUT = "Hessian", "Hessian × input"
SHAPLEY = "Shapley interaction index"

DRAWS = {"replicate_size": 8, "max_draws": 64, "rtol": 0.3}  # 64 for every sample; the paper's authors: 100
BETA = 10.0  # of the softplus that stands for ReLU, as in the paper and as in the engines
ROWS_AT_ONCE = 64


def strengths(network: nn.Sequential, inputs: Tensor, folder: Path) -> dict[str, Tensor]:
    """Method -> (samples, pairs) interactions of a ReLU network with one output.

    Arguments:
        network: as `xattr_cli.models.zoo:mlp` makes it.
        inputs: (samples, features).
        folder: where the product's job and its result are left.
    """
    plain = hessians(smoothed(network), inputs)
    return {
        **{method: of_pairs(matrices) for method, matrices in explained(network, inputs, folder).items()},
        HESSIAN: of_pairs(plain),
        TIMES_INPUT: of_pairs(plain * inputs[:, :, None] * inputs[:, None, :]),
        SHAPLEY: shapley_interactions(network, inputs),
    }


def explained(network: nn.Sequential, inputs: Tensor, folder: Path) -> dict[str, Tensor]:
    """Method -> (samples, features, features) by the product's engines, from one job."""
    model = {"inputs": FEATURES, "hidden": list(HIDDEN), "outputs": 1}
    labels = {INTEGRATED: "integrated_hessians", EXPECTED: "expected_hessians"}
    engines = {
        "integrated_hessians": {"baseline": {"kind": "zero"}},
        "expected_hessians": {"baseline": {"kind": "samples", "count": 64}, **DRAWS},
    }
    with explain(folder, network, model, inputs, engines) as results:
        return {method: interactions(results.engine(label)) for method, label in labels.items()}


def smoothed(network: nn.Sequential) -> nn.Sequential:
    """The same network with softplus, ln(1 + exp(β z)) / β, in place of ReLU: its Hessian is not zero."""
    return nn.Sequential(*(nn.Softplus(beta=BETA) if isinstance(layer, nn.ReLU) else layer for layer in network))


def hessians(network: nn.Module, inputs: Tensor) -> Tensor:
    """(samples, features, features) second derivatives of the only output at the inputs."""
    points = inputs.detach().clone().requires_grad_()
    (gradients,) = torch.autograd.grad(network(points).sum(), points, create_graph=True)
    columns = [torch.autograd.grad(column.sum(), points, retain_graph=True)[0] for column in gradients.unbind(1)]
    return torch.stack(columns, dim=2)


def of_pairs(matrices: Tensor) -> Tensor:
    """(samples, pairs) entries above the diagonal of (samples, features, features)."""
    return matrices[:, PAIRS[0], PAIRS[1]]


@torch.no_grad()
def shapley_interactions(network: nn.Module, inputs: Tensor) -> Tensor:
    """(samples, pairs) Shapley interaction index (Grabisch, Roubens 1999), exact; an absent feature is zero.

    The index of a pair is a weighted sum of the network's answers to all 1,024 coalitions of features,
    with the same weights for every sample: one matrix product.
    """
    coalitions, weights = _coalitions().to(inputs), _weights().to(inputs)
    return torch.cat([
        network((rows[:, None] * coalitions).flatten(0, 1)).view(len(rows), -1) @ weights
        for rows in inputs.split(ROWS_AT_ONCE)
    ])  # fmt: skip


def _coalitions() -> Tensor:
    """(coalitions, features) who is present, 0 or 1."""
    return (torch.arange(2**FEATURES)[:, None] >> torch.arange(FEATURES)) & 1


def _weights() -> Tensor:
    """(coalitions, pairs) weight of every coalition in the index of every pair."""
    present = _coalitions()
    first, second = present[:, PAIRS[0]], present[:, PAIRS[1]]
    others = present.sum(dim=1, keepdim=True) - first - second
    by_size = torch.tensor([1 / ((FEATURES - 1) * comb(FEATURES - 2, size)) for size in range(FEATURES - 1)])
    return by_size[others] * torch.where(first == second, 1.0, -1.0)
