"""Folders that a model lies in: named by path, or inside an installed package."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ModelError, nearest
from ...untrusted.files import read_text

__all__ = ["CONFIG", "as_mapping", "local_folder", "package_folder", "read_config", "weight_files"]

CONFIG = "config.json"
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def local_folder(path: Path) -> Path:
    """A folder with a model.

    Raises:
        ModelError: it does not exist, is a file, or holds no model.
    """
    if path.is_file():
        raise ModelError(f"model.path: {path} is a file; name the folder that it lies in.")
    if not path.is_dir():
        match = nearest(path.name, (p.name for p in path.parent.iterdir())) if path.parent.is_dir() else None
        hint = f" Did you mean {str(path.parent / match)!r}?" if match else ""
        raise ModelError(
            f"model.path: {path}: no such folder.{hint} A model of the Hugging Face hub would have to be "
            "downloaded, which a job never does: save it once, where there is internet access, with "
            "AutoModel.from_pretrained(NAME).save_pretrained(FOLDER), and its tokenizer likewise."
        )
    if not (path / CONFIG).is_file() or not weight_files(path):
        missing = "weights (*.safetensors or pytorch_model.bin)" if (path / CONFIG).is_file() else CONFIG
        raise ModelError(
            f"model.path: {path} has no {missing}; a folder as save_pretrained writes it is needed. Nothing is "
            "ever downloaded."
        )
    return path


def package_folder(reference: str) -> Path:
    """The folder of a model that an installed package brings.

    Arguments:
        reference: name of the package, or `package/folder/in/it` if it has several models.

    Raises:
        ModelError: no such package; no model in it, or several.
    """
    name, _, inside = reference.partition("/")
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"model.package: {name!r}: no such package is installed: pip install it, or set model.path."
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    if inside:
        return local_folder(root / inside)
    folders = sorted(config.parent for config in root.rglob(CONFIG) if weight_files(config.parent))
    if len(folders) == 1:
        return folders[0]
    listed = ", ".join(f"{name}/{folder.relative_to(root).as_posix()}" for folder in folders)
    raise ModelError(
        f"model.package: {name!r} holds several models: name one of {listed}."
        if folders
        else f"model.package: {name!r} holds no folder with {CONFIG} and weights."
    )


def weight_files(folder: Path) -> list[Path]:
    """Files with weights, those in safetensors first."""
    return [path for pattern in _WEIGHTS for path in sorted(folder.glob(pattern))]


def read_config(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ModelError: it cannot be read.
    """
    text = read_text(path, f"model: {path}", ModelError)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"model: {path} cannot be read: {error}") from error


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A JSON value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
