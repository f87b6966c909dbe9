"""The same network with other weights for a while, noisy or shuffled from the top; or with shifted inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ..randomness import Purpose, dataset_generator
from .scorer import Scorer

__all__ = ["noisy_weights", "shifted_back", "shuffled_layers", "top_layers"]


@contextmanager
def noisy_weights(scorer: Scorer, noise: float, seed: int, draw: int) -> Iterator[Scorer]:
    """Every weight w becomes w (1 + noise · N(0, 1)); afterwards all are what they were, bit by bit.

    Arguments:
        scorer: of the network.
        noise: standard deviation, relative to each weight.
        seed: of the job.
        draw: other numbers give independent noise; rows play no part in it.
    """
    generator = dataset_generator(seed, Purpose.STABILITY, draw)

    def noisy(weight: Tensor) -> Tensor:
        factor = torch.from_numpy(generator.standard_normal(tuple(weight.shape), dtype=np.float32))
        return weight * (1 + noise * factor.to(weight))

    with _changed([weight for module in _networks(scorer) for weight in module.parameters()], noisy):
        yield _afresh(scorer)


def top_layers(module: nn.Module) -> list[str]:
    """Names of the layers that have weights of their own, the one that was registered last first."""
    return [name for name, layer in module.named_modules() if any(True for _ in layer.parameters(recurse=False))][
        ::-1
    ]


@contextmanager
def shuffled_layers(scorer: Scorer, layers: Sequence[str], seed: int, draw: int) -> Iterator[Scorer]:
    """The entries of each weight tensor of some layers are shuffled, so that their distribution stays.

    A layer is shuffled alike whichever others are.

    Arguments:
        scorer: of the network.
        layers: names, among `top_layers`.
        seed: of the job.
        draw: other numbers give other orders.
    """
    names = top_layers(scorer.module)
    streams = {
        weight: dataset_generator(seed, Purpose.STABILITY, (1 << 32) + draw * len(names) + names.index(name))
        for module in _networks(scorer)
        for name in layers
        for weight in dict(module.named_modules())[name].parameters(recurse=False)
    }

    def shuffled(weight: Tensor) -> Tensor:
        order = torch.from_numpy(streams[weight].permutation(weight.numel())).to(weight.device)
        return weight.flatten()[order].view_as(weight)

    with _changed(list(streams), shuffled):
        yield _afresh(scorer)


def shifted_back(scorer: Scorer, shift: float) -> Scorer:
    """The network that takes `shift` off every explained number first: g(x + shift) = f(x)."""
    return replace(_afresh(scorer), shift=scorer.shift + shift)


@contextmanager
def _changed(weights: Sequence[Tensor], change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Other data in floating-point tensors; their own are put aside and never written to."""
    floating = [weight for weight in weights if weight.is_floating_point()]
    before = [weight.data for weight in floating]
    try:
        for weight in floating:
            weight.data = change(weight)
        yield
    finally:
        for weight, data in zip(floating, before, strict=True):
            weight.data = data


def _networks(scorer: Scorer) -> tuple[nn.Module, ...]:
    """All networks whose scores are averaged."""
    return (scorer.module, *scorer.folds)


def _afresh(scorer: Scorer) -> Scorer:
    """Without what was made of the weights as they were: folded copies, compiled ones, smoothed ones."""
    return replace(scorer, execution=replace(scorer.execution, compiled=False), curvatures={})
