"""Networks of the experiments on pictures, so that a job can name them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Inception", "small_googlenet", "stretched", "strided"]


def strided(padding: int) -> nn.Sequential:
    """A network for 8 × 8 digits that begins with a stride of two.

    Without padding its first convolution never reaches the last row and the last column of the picture.
    """
    side = (8 + 2 * padding - 3) // 2 + 1
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=padding),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * side * side, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


class Stretch(nn.Module):
    """Contrast so high that ink is black or not there: flat at both ends."""

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, 1, 8, 8) in [0, 1]."""
        return (8 * pixels - 0.5).clamp(0, 1)


def stretched() -> nn.Sequential:
    """The network without the fault, behind a contrast that saturates."""
    return nn.Sequential(Stretch(), *strided(1))


class Inception(nn.Module):
    """Convolutions of 1 × 1, 3 × 3, 5 × 5 and a maximum beside each other (Szegedy et al. 2014, figure 2b)."""

    def __init__(self, before: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([
            _convolution(before, one, 1),
            nn.Sequential(_convolution(before, three[0], 1), _convolution(*three, 3)),
            nn.Sequential(_convolution(before, five[0], 1), _convolution(*five, 5)),
            nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _convolution(before, pool, 1)),
        ])  # fmt: skip

    def forward(self, values: Tensor) -> Tensor:
        """(n, before, height, width) to the branches' channels, one after the other."""
        return torch.cat([branch(values) for branch in self.branches], dim=1)


def small_googlenet() -> nn.Sequential:
    """GoogLeNet's plan, stem, inceptions, pooling, mean, linear, an eighth as wide, for 28 × 28 digits."""
    layers = {
        "stem": nn.Sequential(_convolution(1, 16, 3), nn.MaxPool2d(2)),
        "inception3a": Inception(16, 8, (12, 16), (2, 4), 4),
        "inception3b": Inception(32, 16, (16, 24), (4, 12), 8),
        "pool3": nn.MaxPool2d(2),
        "inception4a": Inception(60, 24, (12, 26), (2, 6), 8),
        "inception4b": Inception(64, 20, (14, 28), (3, 8), 8),
        "pool4": nn.MaxPool2d(2),
        "inception5": Inception(64, 32, (20, 40), (4, 16), 16),
        "mean": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        "logits": nn.Linear(104, 10),
    }
    network = nn.Sequential()
    for name, layer in layers.items():
        network.add_module(name, layer)
    return network


def _convolution(before: int, after: int, side: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, side, padding=side // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU()
    )
