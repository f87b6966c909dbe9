"""A classifier before and after its softmax at once, so that one job follows both along the same paths."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from scripts.networks.image_networks import small_googlenet

__all__ = ["SIDES", "BothSides", "googlenet", "leave_both_sides", "photographs"]

SIDES = ("logit", "probability")
"""The outputs, in their order."""


class BothSides(nn.Module):
    """Pictures (n, C, H, W) and the class of each (n,) to its logit and its probability (n, 2)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor, label: Tensor) -> Tensor:
        """(n, 2)."""
        logits = self.network(pictures)
        sides = torch.stack([logits, logits.softmax(dim=1)], dim=2)
        return sides[torch.arange(len(label)), label]


def photographs() -> BothSides:
    """Of efficientnet-lite0."""
    return BothSides(EfficientNet.from_name("efficientnet-lite0"))


def googlenet() -> BothSides:
    """Of the small GoogLeNet."""
    return BothSides(small_googlenet())


def leave_both_sides(network: nn.Module, pictures: np.ndarray, folder: Path) -> np.ndarray:
    """Leave `both.pt` and `both.npz`, with the classes (n,) that the network predicts, which are explained."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        label = network(torch.from_numpy(pictures)).argmax(dim=1).numpy()
    torch.save({f"network.{name}": value for name, value in network.state_dict().items()}, folder / "both.pt")
    np.savez(folder / "both.npz", pictures=pictures, label=label)
    return np.asarray(label)
