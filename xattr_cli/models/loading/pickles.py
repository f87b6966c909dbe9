"""What a file would run while it is unpickled, found out without running it."""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from ...errors import ModelError, one_line, reported

__all__ = ["code_in_checkpoint", "code_in_program", "from_script", "read_safetensors", "refuse"]

_SHOWN = 4


def refuse(path: Path, option: str, code: Sequence[str]) -> ModelError:
    """The error for a file that needs `code` (dotted names) run, and was not declared trusted."""
    shown = ", ".join(code[:_SHOWN]) + (" and more" if len(code) > _SHOWN else "")
    whole = any(name.startswith("torch.nn.modules.") for name in code)
    return ModelError(
        f"{option}: {path}: reading it would run code: the pickle in it asks for {shown}"
        + (" (it seems to hold a whole pickled network)" if whole else "")
        + f".{from_script(code)} A pickle can do anything that its author likes, with your rights. Better save "
        "the weights alone, with torch.save(network.state_dict(), path); or, if you trust whoever made the file, "
        "set model.trust_pickle: true."
    )


def from_script(names: Sequence[str]) -> str:
    """The way out for classes that a script has defined, which nobody else can import; empty if there are none."""
    own = [name for name in names if name.startswith("__main__.")]
    if not own:
        return ""
    name = own[0].removeprefix("__main__.")
    return (
        f" The class {name} was defined in the script that saved it (__main__), and cannot be imported from "
        "there: put it into a file next to the job file, save network.state_dict() and load that with model: "
        f"{{kind: python, factory: 'file:{name}', checkpoint: …}}."
    )


def code_in_checkpoint(path: Path, error: BaseException) -> list[str]:
    """Dotted names that unpickling a `torch.save` file asks for beyond tensors and containers.

    Arguments:
        path: the file.
        error: what `torch.load(path, weights_only=True)` raised; the only source for files in the
            format before torch 1.6.
    """
    if zipfile.is_zipfile(path):
        return _unsafe(path)
    return re.findall(r"GLOBAL (\S+) was not an allowed global", str(error))


def code_in_program(path: Path) -> list[str]:
    """Dotted names and compiled libraries that loading a `torch.export` archive asks for."""
    found: set[str] = set()
    with reported(f"{path}: is damaged; export it again", ModelError), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if "/data/aotinductor/" in name:
                found.add("a compiled library")
        for name in _pickled_entries(archive):
            content = archive.read(name)
            found.update(_unsafe(io.BytesIO(content)) if zipfile.is_zipfile(io.BytesIO(content)) else [name])
    return sorted(found)


def _pickled_entries(archive: zipfile.ZipFile) -> Iterator[str]:
    """Entries that torch unpickles: whole ones end in .pt, single tensors are marked in a table."""
    for name in archive.namelist():
        if name.endswith(".pt") and archive.getinfo(name).file_size:
            yield name
        elif name.endswith("_config.json"):
            table = json.loads(archive.read(name)).get("config", {})
            folder = name.rpartition("/")[0]
            yield from (f"{folder}/{row['path_name']}" for row in table.values() if row.get("use_pickle"))


def _unsafe(file: Path | BinaryIO) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols of pickle, beside the error that is on its way
            return sorted(get_unsafe_globals_in_checkpoint(file))
    except Exception as error:  # a pickle of a protocol that torch does not speak, or a damaged one
        return [f"something that torch cannot list ({one_line(error)})"]


try:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
except ImportError:  # an optional dependency
    load_file = None  # type: ignore[assignment]


def read_safetensors(path: Path, option: str) -> dict[str, Tensor]:
    """All tensors of a safetensors file, on the CPU.

    Arguments:
        path: the file.
        option: dotted key of the job that names it.

    Raises:
        ModelError: the package is not installed, or the file is damaged.
    """
    if load_file is None:
        raise ModelError(f"{option}: {path}: needs safetensors: pip install 'xattr-cli[safetensors]'")
    try:
        return load_file(path)
    except PermissionError as error:
        raise ModelError(f"{option}: {path}: cannot be read: {error.strerror or error}.") from error
    except (SafetensorError, OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise ModelError(
            f"{option}: {path}: is truncated or damaged, or no safetensors file ({error})."
        ) from error
