"""Networks of the jobs `segmentation` and `present`: pictures (n, 1, 16, 16) of two digits, one in each half."""

from __future__ import annotations

from torch import nn

__all__ = ["pixels", "present"]


def pixels() -> nn.Sequential:
    """To (n, 11, 16, 16): what every pixel belongs to, 0 the background and 1 + d the digit d."""
    layers: list[nn.Module] = []
    for before, after, far in ((1, 24, 1), (24, 32, 2), (32, 32, 3)):
        layers += [nn.Conv2d(before, after, 3, padding=far, dilation=far), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(32, 11, 1))


def present() -> nn.Sequential:
    """To (n, 10): which digits are there."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48 * 16, 96), nn.ReLU(), nn.Linear(96, 10),
    )  # fmt: skip
