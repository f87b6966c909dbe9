"""The identity of a job: what decides its numbers, with the contents of files in place of their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..fingerprint import HashedFile, hash_file
from .config import Job

__all__ = ["FOLDER", "identity", "named_files", "named_paths"]

FOLDER = "a folder"
"""Stands for the path of a folder; its content is in the fingerprint of the model or the dataset that reads it."""

_LONGEST_PATH = 4096


def identity(job: Job) -> dict[str, Any]:
    """The part of a job that decides its numbers; what may change between a kill and a resume is left out.

    The hash of a file stands for its path: the same bytes under another mount are the same job, other bytes under
    the same path are another one.

    Raises:
        DataError: a file is written to all the while.
    """
    content: dict[str, Any] = job.model_dump(mode="json")
    for keys, path in _paths(job):
        holder: Any = content
        for key in keys[:-1]:
            holder = holder[key]
        holder[keys[-1]] = _content_of(path)
    content["compute"] = {k: content["compute"][k] for k in ("arithmetic", "precision", "seed")}
    content["output"] = {k: content["output"][k] for k in ("part_rows", "store_inputs", "compression")}
    return content


def named_files(job: Job) -> dict[str, HashedFile]:
    """Dotted key of the job → the file that it names, with its hash; folders are not among them."""
    return {key: hash_file(path) for key, path in named_paths(job).items()}


def named_paths(job: Job) -> dict[str, Path]:
    """Dotted key of the job → the file that it names, if there is one."""
    paths = {".".join(map(str, keys)): path for keys, path in _paths(job) if keys[0] != "output"}
    return {key: path for key, path in paths.items() if path.is_file()}


def _content_of(path: Path) -> str:
    if path.is_file():
        return f"sha256:{hash_file(path).digest}"
    return FOLDER if path.is_dir() else str(path)


def _paths(job: Job) -> Iterator[tuple[list[Any], Path]]:
    """Where in `job.model_dump(mode="json")` a path is, and which."""
    yield from _pairs(job.model_dump(), job.model_dump(mode="json"), [])


def _pairs(value: Any, plain: Any, at: list[Any]) -> Iterator[tuple[list[Any], Path]]:
    """Paths in a dumped value; `plain` is the same as JSON has it, whose keys are texts."""
    if isinstance(value, Path):
        yield at, value
    elif isinstance(value, str) and "kwargs" in at and _looks_like_file(value):
        yield at, Path(value)
    elif isinstance(value, Mapping) and isinstance(plain, Mapping):
        for inner, (key, inner_plain) in zip(value.values(), plain.items(), strict=True):
            yield from _pairs(inner, inner_plain, [*at, key])
    elif isinstance(value, list | tuple) and isinstance(plain, list):
        for key, (inner, inner_plain) in enumerate(zip(value, plain, strict=True)):
            yield from _pairs(inner, inner_plain, [*at, key])


def _looks_like_file(text: str) -> bool:
    """Whether an argument of the user's own code names a file that is there."""
    try:
        path = Path(text)
        return bool(len(text) < _LONGEST_PATH and (path.suffix or path.parent.name) and path.is_file())
    except (OSError, ValueError):
        return False
