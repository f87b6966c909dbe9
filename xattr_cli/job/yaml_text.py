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

VARIABLE = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
"""Pattern of an environment variable in a value; `$${NAME}` is the text `${NAME}`."""

HDF5 = b"\x89HDF"
"""What a result begins with."""


def read_job_text(path: Path) -> str:
    """Text of a job file; a missing one is an error that names its like in the same folder."""
    if not is_there(path):
        folder = path.parent
        others = [p.name for p in folder.glob("*.y*ml")] if folder.is_dir() else []
        match = nearest(path.name, others)
        hint = f" Did you mean {str(folder / match)!r}?" if match else ""
        raise JobError(f"job file {path}: no such file.{hint}")
    if _holds_hdf5(path):
        raise JobError(
            f"job file {path}: is HDF5, as results are, and no job. `xattr-cli inspect {path}` tells of a result; "
            "`run` takes the YAML job that made it."
        )
    return read_text(path, f"job file {path}", JobError)


def _holds_hdf5(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(HDF5)) == HDF5


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
        raise JobError("the job file must be a mapping with the keys model, dataset, engines, output.")
    for override in overrides:
        values = _overridden(values, override)
    try:
        return _expanded(values, "")  # type: ignore[no-any-return]
    except RecursionError:
        raise JobError("the job file: an anchor stands for something that contains it.") from None


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
