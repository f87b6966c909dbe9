"""Networks that code builds and a checkpoint fills."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from ..errors import ModelError
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
    checkpoints: JobPath | tuple[JobPath, ...] | None = Field(
        default=None,
        description="several, of networks trained on folds of the data: a list of files, or a pattern such as "
        "folds/*.pt; scores and maps are means over them, with their standard deviation beside each map",
    )
    keep_folds: bool = Field(default=False, description="store the map of every checkpoint, too")
    strict: Literal["error", "report"] = Field(
        default="error",
        description="report: names that the checkpoint lacks, or has beyond the network's, are noted, not refused",
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
    def _consistent(self) -> BuiltModel:
        if self.checkpoint is not None and self.checkpoints is not None:
            raise ValueError("give either checkpoint or checkpoints")
        if self.checkpoint_key is not None and self.checkpoint is None and self.checkpoints is None:
            raise ValueError("checkpoint_key is set, but checkpoint is not")
        return self

    def load(self) -> LoadedModel:
        """Build the network and copy the checkpoint into it; one for each of several checkpoints."""
        if self.checkpoints is not None:
            return self._folds(self._fold_files())
        network, notes = _unwrapped(self._build_reproducibly())
        if self.checkpoint is None:
            check_weights(network)
            return LoadedModel(
                network,
                fingerprint_weights(network),
                (*notes, "no checkpoint: the weights are those that the network was built with"),
            )
        notes += self._fill(network, self.checkpoint)
        return LoadedModel(network, fingerprint_file(self.checkpoint), notes)

    def _fill(self, network: nn.Module, path: Path) -> tuple[str, ...]:
        checkpoint = read_checkpoint(path, key=self.checkpoint_key, trust_pickle=self.trust_pickle)
        notes = load_weights(network, checkpoint, report=self.strict == "report")
        check_weights(network)
        return notes

    def _fold_files(self) -> list[Path]:
        """The checkpoints, those of a pattern in the order of their names.

        Raises:
            ModelError: none or a single one fits, or one is named twice.
        """
        given = self.checkpoints
        if isinstance(given, Path):
            files = sorted(Path(given.anchor).glob(str(given.relative_to(given.anchor))))
        else:
            files = list(given or ())
        if len(files) < 2 or len(set(files)) < len(files):
            which = (
                f"the pattern '{given}' fits {len(files)} files"
                if isinstance(given, Path)
                else f"{len(files)} files"
            )
            raise ModelError(f"model.checkpoints: {which}; two or more different ones are needed.")
        return files

    def _folds(self, files: list[Path]) -> LoadedModel:
        networks: list[nn.Module] = []
        notes: tuple[str, ...] = ()
        for file in files:
            network, told = _unwrapped(self._build_reproducibly())
            told += self._fill(network, file)
            notes += told if not networks else ()
            networks.append(network)
        digest = hashlib.sha256("".join(map(fingerprint_file, files)).encode()).hexdigest()
        names = tuple(file.name for file in files)
        note = f"mean over {len(files)} checkpoints: {', '.join(names)}"
        return LoadedModel(
            networks[0],
            digest,
            (*notes, note),
            folds=tuple(networks[1:]),
            fold_names=names,
            keep_folds=self.keep_folds,
        )

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
