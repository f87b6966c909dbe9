"""Networks that code builds and a checkpoint fills."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import Field, model_validator
from torch import nn

from ..fingerprint import fingerprint_file
from ..job.config import JobPath
from .base import LoadedModel, ModelSource
from .loading.checkpoint import read_checkpoint
from .loading.weights import check_weights, fingerprint_weights, load_weights

__all__ = ["BuiltModel"]

_SEED = 0


class BuiltModel(ModelSource):
    """A model source that has an architecture and takes its weights from a checkpoint."""

    checkpoint: JobPath | None = Field(
        default=None, description="weights: a state dict in .pt, .pth, .ckpt, .bin or .safetensors"
    )
    checkpoint_key: str | None = Field(
        default=None,
        description="dotted key of the state dict in the checkpoint, such as state_dict.model",
    )
    trust_pickle: bool = Field(
        default=False, description="let the checkpoint run code while it is read; only for files you trust"
    )

    @abstractmethod
    def build(self) -> nn.Module:
        """The network on the CPU, with whatever weights it has before the checkpoint is read.

        Raises:
            ModelError: it cannot be built as the job asks.
        """

    @model_validator(mode="after")
    def _key_needs_file(self) -> BuiltModel:
        if self.checkpoint_key is not None and self.checkpoint is None:
            raise ValueError("checkpoint_key is set, but checkpoint is not")
        return self

    def load(self) -> LoadedModel:
        """Build the network and copy the checkpoint into it."""
        network, notes = _unwrapped(self._build_reproducibly())
        if self.checkpoint is None:
            check_weights(network)
            return LoadedModel(
                network,
                fingerprint_weights(network),
                (*notes, "no checkpoint: the weights are those that the network was built with"),
            )
        checkpoint = read_checkpoint(self.checkpoint, key=self.checkpoint_key, trust_pickle=self.trust_pickle)
        notes += load_weights(network, checkpoint)
        check_weights(network)
        return LoadedModel(network, fingerprint_file(self.checkpoint), notes)

    def _build_reproducibly(self) -> nn.Module:
        # untrained networks are explained too, and a resumed run must meet the same one
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(_SEED)
            return self.build()


def _unwrapped(network: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The network inside `torch.compile` and `DataParallel`, which would both be in the way of a Scorer."""
    notes: tuple[str, ...] = ()
    while True:
        inner = getattr(network, "_orig_mod", None)
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = network.module
        if not isinstance(inner, nn.Module):
            return network, notes
        notes += (f"took the network out of its {type(network).__name__}",)
        network = inner
