"""Train two small networks on tables, and leave for each a checkpoint and its data.

`iris` is the classic one, min-max scaled. `chain` is drawn from a known causal model, W → X, W → Z, (X, Z) → Y:

    W ~ U(-1, 1),  X = tanh(2 W) / 2 + U(-1, 1),  Z = W + U(-1, 1) / 2,  Y = X + Z + X Z + N(0, 0.1)

Example: python -m scripts.networks.train_tables runs
"""

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_iris
from torch import nn

from scripts.networks.descent import descend
from xattr_cli.models.zoo import mlp


def main(folder: Path) -> None:
    data = load_iris()
    x = (data.data - data.data.min(axis=0)) / np.ptp(data.data, axis=0)
    columns = [name.removesuffix(" (cm)").replace(" ", "_") for name in data.feature_names]
    network = mlp(4, [8], 3)
    loss = nn.CrossEntropyLoss()
    fit(network, loss, torch.tensor(x, dtype=torch.float32), torch.tensor(data.target), epochs=300)
    leave(folder / "iris", network, np.column_stack([x, data.target]), [*columns, "species"])

    x, y = draw_chain(2000)
    network = mlp(3, [32, 32], 1, "softplus")
    fit(network, nn.MSELoss(), torch.tensor(x), torch.tensor(y)[:, None], epochs=60)
    leave(folder / "chain", network, x, ["W", "X", "Z"])
    print(f"trained networks and their data: {folder / 'iris'}, {folder / 'chain'}")


def draw_chain(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    w, noise_x, noise_z = rng.uniform(-1, 1, (3, rows))
    x, z = np.tanh(2 * w) / 2 + noise_x, w + noise_z / 2
    y = x + z + x * z + rng.normal(0, 0.1, rows)
    return np.stack([w, x, z], axis=1).astype(np.float32), y.astype(np.float32)


def fit(network: nn.Module, loss: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    torch.manual_seed(0)
    for layer in network:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    descend(optimizer, lambda part: loss(network(x[part]), y[part]), len(x), epochs=epochs)


def leave(folder: Path, network: nn.Module, table: np.ndarray, columns: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "model.pt")
    formats = ["%d" if column == "species" else "%.6g" for column in columns]
    np.savetxt(folder / "data.csv", table, delimiter=",", header=",".join(columns), comments="", fmt=formats)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs"))
