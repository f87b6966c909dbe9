"""What many tests need: a block on any module, and small trained networks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

from helpers.weights import with_weights
from xattr_cli.device import Packing, Rows, Scorer, kinked_operations
from xattr_cli.engines.block import Block
from xattr_cli.engines.sweeps import merge_demands
from xattr_cli.models.frozen import frozen
from xattr_cli.models.zoo import digits_cnn, mlp, sequence_classifier
from xattr_cli.registry import SCORES
from xattr_cli.samples import InputSpec, Layout


@dataclass(frozen=True)
class GivenBaselines:
    """Baselines that a test hands over itself."""

    baseline: Tensor
    background_set: Tensor | None = None
    scorer: Scorer | None = None

    def reference(self, baseline, sample):
        return self.baseline

    def background(self, baseline):
        return self.background_set

    def background_scores(self, baseline):
        return self.scorer.scores(self.background_set, {}).mean(dim=0)


def layout_of(inputs: Tensor) -> Layout:
    dtype = np.dtype(str(inputs.dtype).removeprefix("torch."))
    return Layout((InputSpec("X", tuple(inputs.shape[1:]), dtype),))


def scorer_of(module, inputs, *, score="auto", rows=64):
    layout = layout_of(inputs)
    return Scorer(
        module=module.eval(),
        inputs=layout.specs,
        layout=layout,
        score=SCORES.get(score)(),
        device=inputs.device,
        dtype=inputs.dtype,
        packing=Packing(rows),
    )


def block_of(
    module,
    inputs,
    *,
    baseline=None,
    background=None,
    target=0,
    engines=(),
    score="auto",
    rows=64,
    sample=None,
    seed=0,
):
    """A block for `module` on `inputs` (n, *shape); `target` is one output or (n,) outputs."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    scorer = scorer_of(module, inputs, score=score, rows=rows)
    flat = inputs.reshape(len(inputs), -1)
    reference = torch.zeros_like(flat) if baseline is None else baseline.reshape(len(inputs), -1)
    targets = target if isinstance(target, Tensor) else torch.full((len(inputs),), target)
    sample = torch.arange(len(inputs)) if sample is None else sample
    given = GivenBaselines(reference, None if background is None else background.flatten(1), scorer)
    return Block(
        Rows(flat, {}, targets, sample),
        scorer,
        given,
        planned=merge_demands(engine.path() for engine in engines),
        seed=seed,
        smooth=not kinked_operations(lambda: module(inputs[:2])),
    )


def explain(engine, module, inputs, **options):
    """The explanation of one engine on its own."""
    return engine.explain(block_of(module, inputs, engines=[engine], **options))


# --- real data and trained networks --------------------------------------------------------------


@cache
def digits():
    """Training and test images (n, 1, 8, 8) in [0, 1] and labels."""
    data = load_digits()
    images = torch.tensor(data.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(data.target)
    index = train_test_split(np.arange(len(labels)), test_size=0.25, random_state=0, stratify=data.target)
    (train, test) = (torch.from_numpy(np.sort(part)) for part in index)
    return images[train], labels[train], images[test], labels[test]


class _Rows(nn.Module):
    """Reads an 8 × 8 image as a sequence of its eight rows."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images[:, 0])


NETWORKS = {
    "relu_cnn_maxpool": lambda: digits_cnn(),
    "gelu_mlp": lambda: nn.Sequential(nn.Flatten(), mlp(64, [96, 96], 10, activation="gelu")),
    "relu_mlp": lambda: nn.Sequential(nn.Flatten(), mlp(64, [96, 96], 10, activation="relu")),
    "gru": lambda: _Rows(sequence_classifier(8, 48, 10, cell="gru")),
}
KINKED = {"relu_cnn_maxpool", "relu_mlp"}


@cache
def trained(name):
    """One of `NETWORKS`, trained on the digits for a few seconds; accuracy is above 90 %."""
    return with_weights(NETWORKS[name](), name)


__all__ = [
    "KINKED",
    "NETWORKS",
    "block_of",
    "digits",
    "explain",
    "frozen",
    "layout_of",
    "scorer_of",
    "trained",
]
