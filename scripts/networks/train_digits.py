"""Train the digits CNN in seconds, and leave a checkpoint and held-out images: model.pt and test.npz.

Example: python -m scripts.networks.train_digits runs/digits
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

from scripts.networks.descent import descend
from xattr_cli.models.zoo import digits_cnn


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = load_digits()
    images = (data.images / 16).astype(np.float32)[:, None]
    train_x, test_x, train_y, test_y = train_test_split(
        images, data.target, test_size=0.25, random_state=0, stratify=data.target
    )
    started = time.perf_counter()
    network = train(torch.from_numpy(train_x), torch.from_numpy(train_y))
    seconds = time.perf_counter() - started
    with torch.no_grad():
        accuracy = (network(torch.from_numpy(test_x)).argmax(1).numpy() == test_y).mean()
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(folder / "test.npz", X=test_x, y=test_y)
    print(f"digits CNN: {accuracy:.1%} on {len(test_y)} held-out images after {seconds:.1f} s of training")


def train(images: torch.Tensor, labels: torch.Tensor, epochs: int = 12) -> nn.Module:
    torch.manual_seed(0)
    network = digits_cnn()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    descend(
        optimizer,
        lambda part: nn.functional.cross_entropy(network(images[part]), labels[part]),
        len(images),
        epochs=epochs,
    )
    return network.eval()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/digits"))
