"""Networks that `xattr-cli init` starts with: trained at once, in seconds, on data that packages bring along."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ModelError
from ..importing import import_optional
from ..job.starter_texts import TEXTS, VOCABULARY
from .zoo import digits_cnn, mlp

__all__ = ["Sentiment", "images", "regression", "table", "text"]

EPOCHS = 40
BATCH = 128


def images() -> nn.Module:
    """A small convolutional network for scikit-learn's digits, (n, 1, 8, 8) to (n, 10); trained in about 2 s."""
    data = _data("load_digits")
    train = _training_part(data.target)
    x = torch.tensor(data.images[train][:, None] / 16, dtype=torch.float32)
    return _fitted(digits_cnn((8, 16), 32), x, torch.tensor(data.target[train]), nn.CrossEntropyLoss(), epochs=12)


def table() -> nn.Module:
    """A fully connected network for scikit-learn's table of breast cancers, (n, 30) to (n, 2)."""
    data = _data("load_breast_cancer")
    train = _training_part(data.target)
    return _fitted(
        mlp(30, [32], 2), _scaled(data.data[train]), torch.tensor(data.target[train]), nn.CrossEntropyLoss()
    )


def regression() -> nn.Module:
    """A fully connected network for scikit-learn's table of diabetes, (n, 10) to (n, 1)."""
    data = _data("load_diabetes")
    train = np.arange(len(data.target))
    y = torch.tensor(data.target, dtype=torch.float32)[:, None]
    return _fitted(mlp(10, [16], 1, "gelu"), _scaled(data.data[train]), (y - y.mean()) / y.std(), nn.MSELoss())


class Sentiment(nn.Module):
    """Words to vectors, their mean, and the log-odds of two classes: (n, tokens) ids and mask to (n, 2)."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 8, padding_idx=0)
        self.score = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(n, 2) scores of both classes."""
        vectors = self.embedding(input_ids) * attention_mask[..., None]
        found: Tensor = self.score(vectors.sum(dim=1) / attention_mask.sum(dim=1, keepdim=True).clamp(min=1))
        return found


def text() -> nn.Module:
    """A network for the sentences that `xattr-cli init --kind text` writes: negative or positive."""
    number = {word: place for place, word in enumerate(VOCABULARY)}
    longest = max(len(sentence.split()) for sentence, _ in TEXTS)
    ids = torch.zeros(len(TEXTS), longest, dtype=torch.int64)
    for row, (sentence, _) in enumerate(TEXTS):
        words = [number[word] for word in sentence.split()]
        ids[row, : len(words)] = torch.tensor(words)
    labels = torch.tensor([int(label == "positive") for _, label in TEXTS])
    network = Sentiment(len(VOCABULARY))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(ids, (ids > 0).long()), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return network.eval()


def _data(name: str) -> Any:
    sets = import_optional(
        "sklearn.datasets", needed_by="xattr-cli init", install="xattr-cli[builtin]", error=ModelError
    )
    return getattr(sets, name)()


def _training_part(target: np.ndarray) -> np.ndarray:
    """The rows that are not in the test part of dataset kind builtin; see `datasets.builtin`."""
    model_selection = import_optional(
        "sklearn.model_selection", needed_by="xattr-cli init", install="xattr-cli[builtin]", error=ModelError
    )
    train: np.ndarray = model_selection.train_test_split(
        np.arange(len(target)), test_size=0.25, random_state=0, stratify=target
    )[0]
    return train


def _scaled(values: np.ndarray) -> Tensor:
    return torch.tensor((values - values.mean(axis=0)) / values.std(axis=0), dtype=torch.float32)


def _fitted(network: nn.Module, x: Tensor, y: Tensor, loss: nn.Module, epochs: int = EPOCHS) -> nn.Module:
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(x), generator=generator), BATCH):
            optimizer.zero_grad()
            loss(network(x[rows]), y[rows]).backward()
            optimizer.step()
    return network.eval()
