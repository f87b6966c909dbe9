"""The network of the intrinsic-causal-contribution experiments, as the paper describes it."""

from torch import nn

__all__ = ["network"]


def network(inputs: int, width: int = 64) -> nn.Sequential:
    """Three layers, ReLU between them, one output."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    )
