"""Names of a network's outputs: a list in the job, or a file of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from ...errors import DataError
from ...job.config import JobPath
from ...job.yaml_text import VARIABLE
from ...untrusted.files import read_text
from ..files import existing_file

__all__ = ["ClassNames", "read_class_names"]

_SUFFIXES = (".txt", ".json")


def _names_or_file(value: Any) -> Any:
    if isinstance(value, str | Path) and Path(value).suffix.lower() in _SUFFIXES:
        return value
    if isinstance(value, list | tuple):
        return value
    raise ValueError("must be a list of names, or a file of them that ends in .txt or .json")


ClassNames = Annotated[
    tuple[str, ...] | JobPath,
    BeforeValidator(_names_or_file),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": "string"}},
                {"type": "string", "pattern": rf"\.([tT][xX][tT]|[jJ][sS][oO][nN])$|{VARIABLE}"},
            ]
        }
    ),
]
"""Names in the order of the outputs, or the file that has them; several outputs may have one name."""


def read_class_names(path: Path, key: str) -> tuple[str, ...]:
    """The names that a file has, in the order of the outputs.

    A .txt file has a name on each line. A .json file has a list of names; or a mapping from numbers to names,
    {"0": "tench"}, or to an identifier and a name, {"0": ["n01440764", "tench"]}, as Keras has those of
    ImageNet; or from names to numbers, {"tench": 0}, as torchvision's `class_to_idx`.

    Arguments:
        path: of the file.
        key: dotted key of the job file, for errors.

    Raises:
        DataError: no such file, or not one of these; a line or a number without a name.
    """
    where = f"{key}: {path}"
    text = read_text(existing_file(path, key), where, DataError).removeprefix("\ufeff")
    names = _of_json(text, where) if path.suffix.lower() == ".json" else _of_lines(text, where)
    if not names:
        raise DataError(f"{where}: there are no names in it.")
    return names


def _of_lines(text: str, where: str) -> tuple[str, ...]:
    lines = [line.strip() for line in text.rstrip().split("\n")] if text.strip() else []
    if "" in lines:
        # an empty line left out would give every later output the name of the next one
        raise DataError(f"{where}: line {lines.index('') + 1} is empty; every line names an output.")
    return tuple(lines)


def _of_json(text: str, where: str) -> tuple[str, ...]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: is not valid JSON: {error}.") from error
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping):
        raise DataError(f"{where}: must be a list of names, or a mapping from the numbers of outputs to names.")
    if all(type(number) is int for number in content.values()):
        _check_once(list(content.values()), where)
        content = {number: name for name, number in content.items()}
    named = {str(number): _name(entry, f"{where}: output {number}") for number, entry in content.items()}
    missing = next((number for number in map(str, range(len(named))) if number not in named), None)
    if missing is not None:
        raise DataError(f"{where}: {len(named)} names, but none for output {missing}; outputs count from 0.")
    return tuple(named[str(number)] for number in range(len(named)))


def _check_once(numbers: list[int], where: str) -> None:
    twice, times = Counter(numbers).most_common(1)[0] if numbers else (0, 0)
    if times > 1:
        raise DataError(f"{where}: output {twice} has several names.")


def _name(entry: Any, where: str) -> str:
    """A name, or the last of an identifier and a name."""
    name = entry[-1] if isinstance(entry, list) and entry else entry
    if not isinstance(name, str) or not name.strip():
        raise DataError(f"{where}: {entry!r} is no name.")
    return name.strip()
