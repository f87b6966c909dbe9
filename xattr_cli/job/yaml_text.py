"""From the text of a job file to plain values, and back: YAML, overrides, environment variables."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ..errors import JobError, nearest
from ..untrusted.files import is_there, read_text
from ..untrusted.yaml_text import parse_yaml, resolve_plainly

__all__ = ["VARIABLE", "plain_values", "read_job_text", "write_values"]

_HDF5, _ZIP = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
_MOST_NAMED = 5

VARIABLE = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
"""Pattern of an environment variable in a value; `$${NAME}` is the text `${NAME}`."""


def read_job_text(path: Path) -> str:
    """Text of a job file; a missing one is an error that names its like in the same folder."""
    if not is_there(path):
        folder = path.parent
        others = [p.name for p in folder.glob("*.y*ml")] if folder.is_dir() else []
        match = nearest(path.name, others)
        hint = f" Did you mean {str(folder / match)!r}?" if match else ""
        raise JobError(f"job file {path}: no such file.{hint}")
    if reason := _no_job(path):
        raise JobError(f"job file {path}: {reason}")
    return read_text(path, f"job file {path}", JobError)


def _no_job(path: Path) -> str:
    """Why what a path leads to cannot be a job file; empty if it may be one."""
    if path.is_dir():
        jobs = sorted(found.name for found in path.glob("*.y*ml"))[:_MOST_NAMED]
        return "is a folder" + (
            f"; name a job in it: {', '.join(jobs)}." if jobs else ", without a .yaml file in it."
        )
    if not path.is_file():
        return ""  # what the shell has opened
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:  # who reads it says so
        return ""
    if start == _HDF5:
        return (
            f"is an HDF5 file, such as a result, not a job. `xattr-cli inspect {path}` and `report` read results; "
            "this command takes the job, a YAML file."
        )
    return "is an archive, such as .npz or .pt, not a job: a YAML file names it." if start[:4] == _ZIP else ""


def plain_values(text: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What a job file says, overridden, with `${VAR}` expanded from the environment.

    Arguments:
        text: YAML.
        overrides: `dotted.key=value` texts; the values are YAML.

    Raises:
        JobError: not YAML, or not a mapping; a key that is given twice; an override of a key that
            cannot have keys of its own; an environment variable that is not set.
    """
    values = parse_yaml(text, "the job file", JobError)
    if not isinstance(values, dict):
        raise JobError(f"the job file {_no_mapping(values)}")
    for override in overrides:
        values = _overridden(values, override)
    try:
        return _expanded(values, "")  # type: ignore[no-any-return]
    except RecursionError:
        raise JobError("the job file: an anchor stands for something that contains it.") from None


def _no_mapping(found: Any) -> str:
    """What a job file is instead of a mapping, and what to do."""
    keys = "the keys model, dataset, engines, output"
    if found is None:
        return f"is empty; it must be a mapping with {keys}. `xattr-cli init` writes one to start from."
    if isinstance(found, list):
        return f"is a list; it must be a mapping with {keys}, without a dash before them."
    return f"is a single value; it must be a mapping with {keys}, each with a colon and a space behind it."


def write_values(values: dict[str, Any]) -> str:
    """YAML that `plain_values` reads as `values` again."""
    return yaml.dump(_escaped(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


# --- YAML ---------------------------------------------------------------------------------------


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # ten times as fast
    """Writes what `parse_yaml` reads."""


resolve_plainly(_Dumper)


# --- overrides ----------------------------------------------------------------------------------


def _overridden(values: dict[str, Any], override: str) -> dict[str, Any]:
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise JobError(f"--set {override!r}: must look like compute.device=cpu")
    value = parse_yaml(text, f"--set {override!r}: the value", JobError)
    try:
        return _replaced(values, keys, value)
    except _NoKeys as error:
        at, found = ".".join(keys[: len(keys) - error.left]), error.found
        raise JobError(f"--set {override!r}: {at} is {found!r}, which has no keys; set {at} as a whole.") from None


class _NoKeys(Exception):  # noqa: N818 - caught where it can be told in full
    def __init__(self, found: object, left: int) -> None:
        self.found = found
        self.left = left


def _replaced(here: Any, keys: list[str], value: Any) -> dict[str, Any]:
    """A copy of `here` with the value at a dotted key; an anchor's other places keep theirs."""
    if here is None:
        here = {}
    if not isinstance(here, dict):
        raise _NoKeys(here, len(keys))
    key, rest = _next_key(here, keys)
    inner = here.get(key)
    if key == "engines" and rest:
        inner = _as_mapping(inner)
    return {**here, key: _replaced(inner, rest, value) if rest else value}


def _next_key(here: dict[str, Any], keys: list[str]) -> tuple[str, list[str]]:
    """The first key and what follows it; a label may have dots of its own."""
    for length in range(len(keys), 1, -1):
        label = ".".join(keys[:length])
        if label in here:
            return label, keys[length:]
    return keys[0], keys[1:]


def _as_mapping(engines: Any) -> Any:
    """Engines as a mapping, if they are one name or a list of names."""
    names = [engines] if isinstance(engines, str) else engines
    is_listed = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return dict.fromkeys(names) if is_listed else engines


# --- environment variables ----------------------------------------------------------------------


def _expanded(value: Any, at: str) -> Any:
    if isinstance(value, dict):
        return {k: _expanded(v, f"{at}.{k}" if at else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_expanded(v, f"{at}.{i}") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def expand(match: re.Match[str]) -> str:
        text = match.group()
        return text[1:] if text.startswith("$$") else _variable(text[2:-1], at)

    return re.sub(rf"\$?{VARIABLE}", expand, value)


def _variable(name: str, at: str) -> str:
    if name not in os.environ:
        like = nearest(name, os.environ)
        hint = f" Did you mean {like!r}?" if like else ""
        raise JobError(f"{at}: environment variable {name!r} is not set.{hint}")
    return os.environ[name]


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return re.sub(VARIABLE, r"$\g<0>", value) if isinstance(value, str) else value
