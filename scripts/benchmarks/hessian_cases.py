"""Networks and rows on which second-order methods are measured."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from scripts.benchmarks.bench_cases import block_of, digits, trained
from xattr_cli.engines.base import Explanation, LocalEngine
from xattr_cli.engines.block import Block
from xattr_cli.engines.interactions.integrated_hessians import IntegratedHessians

__all__ = ["CASES", "SecondOrderCase", "matrix_error", "softplus_mlp"]

BETA = 10.0
ROWS_PER_CALL = 4096


@dataclass(frozen=True)
class SecondOrderCase:
    """A network, rows, and what is explained about them.

    Attributes:
        name: of the network.
        network: in float64, frozen.
        inputs: (rows, *shape).
        target: (rows,) int64.
        score: of the target.
        options: of the engine, such as its groups.
    """

    name: str
    network: nn.Module
    inputs: Tensor
    target: Tensor
    score: str
    options: Mapping[str, Any]

    def block(self, engine: LocalEngine, dtype: torch.dtype = torch.float64) -> Block:
        """All rows, as a job would explain them."""
        network = self.network if dtype == torch.float64 else copy.deepcopy(self.network).to(dtype)
        return block_of(
            network,
            self.inputs.to(dtype),
            target=self.target,
            engines=[engine],
            score=self.score,
            rows=ROWS_PER_CALL,
        )

    def explain(self, dtype: torch.dtype = torch.float64, **options: Any) -> Explanation:
        """What integrated Hessians find."""
        engine = IntegratedHessians(**{**self.options, **options})
        return engine.explain(self.block(engine, dtype))


def softplus_mlp(features: int, *, hidden: tuple[int, ...] = (128, 128), seed: int = 0) -> nn.Sequential:
    """features-128-128-1 with softplus of β = 10 and random weights, as the paper times its method on."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(features, width), nn.Softplus(beta=BETA)]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, 1)).eval().requires_grad_(False)


def matrix_error(found: Tensor, truth: Tensor) -> Tensor:
    """(rows,) float64, ‖found − truth‖ / ‖truth‖ in Frobenius norms."""
    found, truth = found.double().flatten(1), truth.double().flatten(1)
    return (found - truth).norm(dim=1) / truth.norm(dim=1)


def _random(rows: int, score: str, scale: float = 1.0) -> SecondOrderCase:
    torch.manual_seed(1)
    inputs = scale * torch.randn(rows, 30, dtype=torch.float64)
    name = "softplus MLP" if scale == 1.0 else f"softplus MLP, inputs × {scale:g}"
    return SecondOrderCase(name, softplus_mlp(30).double(), inputs, torch.zeros(rows).long(), score, {})


def _of_digits(name: str, network: str) -> Callable[[int, str], SecondOrderCase]:
    def make(rows: int, score: str) -> SecondOrderCase:
        module = copy.deepcopy(trained(network)).double().requires_grad_(False)
        images = digits()[2][:rows].double()
        target = module(images).argmax(dim=1)
        return SecondOrderCase(name, module, images, target, score, {"groups": {"patches": 2}})

    return make


CASES: Mapping[str, Callable[[int, str], SecondOrderCase]] = {
    "softplus MLP": _random,
    "softplus MLP × 3": lambda rows, score: _random(rows, score, 3.0),
    "GELU MLP": _of_digits("GELU MLP", "gelu_mlp"),
    "GRU": _of_digits("GRU", "gru"),
    "ReLU MLP, smoothed": _of_digits("ReLU MLP, smoothed", "relu_mlp"),
    "ReLU CNN with max-pool, smoothed": _of_digits("ReLU CNN with max-pool, smoothed", "relu_cnn_maxpool"),
}
"""Name -> rows and score to the case; a single output has no probability of its own."""
