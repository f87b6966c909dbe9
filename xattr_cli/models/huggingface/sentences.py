"""Folders of sentence-transformers: which network, and how its token vectors become a sentence vector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelError
from .folders import as_mapping, local_folder, read_config
from .heads import Pooling

__all__ = ["Recipe", "read_recipe"]

_MODES: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}


@dataclass(frozen=True)
class Recipe:
    """How a folder is to be read.

    Attributes:
        folder: of the network itself.
        pooling: of its token vectors.
        notes: what was assumed.
    """

    folder: Path
    pooling: Pooling = "mean"
    notes: tuple[str, ...] = ()


def read_recipe(folder: Path) -> Recipe:
    """What `modules.json` of sentence-transformers says; mean pooling if there is none.

    Raises:
        ModelError: it names a step that is not known here.
    """
    if not (folder / "modules.json").is_file():
        return Recipe(folder)
    network, pooling = folder, Recipe(folder).pooling
    for step in read_config(folder / "modules.json"):
        kind = str(as_mapping(step).get("type", "")).rpartition(".")[2]
        path = folder / str(as_mapping(step).get("path", ""))
        if kind == "Transformer":
            network = local_folder(path)
        elif kind == "Pooling":
            pooling = _pooling(as_mapping(read_config(path / "config.json")), folder)
        elif kind != "Normalize":
            raise ModelError(
                f"model.path: {folder}: its modules.json has a step {kind or step!r}, not known here. "
                "Load the model with kind: python, from a function that returns a module with one output."
            )
    return Recipe(network, pooling, (f"pooling: {pooling}, as {folder.name}/modules.json says",))


def _pooling(config: Any, folder: Path) -> Pooling:
    chosen = [
        _MODES.get(name, name) for name, value in config.items() if name.startswith("pooling_mode_") and value
    ]
    if isinstance(config.get("pooling_mode"), str):
        chosen = [config["pooling_mode"]]
    for pooling in _MODES.values():
        if chosen == [pooling]:
            return pooling
    modes = " and ".join(map(str, chosen)) or "nothing"
    raise ModelError(f"model.pooling: {folder} pools by {modes}; set it to mean, cls or max.")
