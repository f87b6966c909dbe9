"""What a model source is: options that load a checkpoint into a module, and a note of how."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from torch import nn

from ..registry import Plugin

__all__ = ["LoadedModel", "ModelSource"]


@dataclass(frozen=True)
class LoadedModel:
    """A network as its source delivers it, before it is frozen and moved to a device.

    Attributes:
        module: takes the dataset's inputs in order, each (n, *shape), and returns (n, outputs) or (n,).
        fingerprint: hash of the weights' file, or of the weights where there is no file.
        notes: what was done on the way, such as a stripped `module.` prefix; shown and stored.
        fixed_batch: the batch size the module must be given (a program exported without a dynamic
            batch axis, or with a bounded one); None if it takes any.
        outputs: names of the outputs, such as classes; empty if the source knows none.
        folds: further networks of the same kind, trained on other folds of the data; scores are means over all.
        fold_names: of the network and its folds; empty if there are none.
        keep_folds: store the map of every fold, too.

    Example:
        >>> loaded = LoadedModel(nn.Linear(2, 1), fingerprint="of the weights", outputs=("price",))
        >>> loaded.outputs, loaded.fixed_batch
        (('price',), None)
    """

    module: nn.Module
    fingerprint: str
    notes: tuple[str, ...] = ()
    fixed_batch: int | None = None
    outputs: tuple[str, ...] = ()
    folds: tuple[nn.Module, ...] = ()
    fold_names: tuple[str, ...] = ()
    keep_folds: bool = False


class ModelSource(Plugin, ABC):
    """A kind of model in the job file; its fields are the options under `model:`.

    Example:
        >>> class Sum(ModelSource):
        ...     '''A network that adds its inputs.'''
        ...     inputs: int = 2
        ...     def load(self):
        ...         network = nn.Linear(self.inputs, 1, bias=False)
        ...         nn.init.ones_(network.weight)
        ...         return LoadedModel(network, fingerprint=f"sum of {self.inputs}")
        >>> Sum(inputs=3).load().module.weight.tolist()
        [[1.0, 1.0, 1.0]]
    """

    output: int | str | None = Field(
        default=None,
        description="part of what the network returns that is explained: a key, position or attribute, or several "
        "joined by dots; null: the only tensor there is",
    )
    call: dict[str, Any] = Field(
        default={}, description="further keyword arguments of every call that are no tensors, such as {sr: 16000}"
    )

    @property
    def part(self) -> int | str | None:
        """Which part of what the module returns is explained."""
        return self.output

    def tokenizer_folder(self) -> Path | None:
        """Folder of the tokenizer that belongs to the network; None if it has none."""
        return None

    def beside(self, dataset: Plugin) -> ModelSource:
        """The model as it is loaded for a dataset; one that can be asked several things may see which is meant."""
        return self

    def picture_transform(self) -> dict[str, Any]:
        """What a job has under `dataset.transform` for pictures, as the architecture's own weights want them.

        Empty if the source does not know; `xattr-cli explain` takes it, a job says it itself.
        """
        return {}

    @abstractmethod
    def load(self) -> LoadedModel:
        """Read the checkpoint; on the CPU, without side effects on the process.

        Raises:
            ModelError: the file is missing, damaged, untrusted, or does not fit the network.
        """
