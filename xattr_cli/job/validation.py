"""What pydantic finds wrong with a job, in the words of the job file: one line per dotted key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..errors import nearest

__all__ = ["describe"]

Keys = tuple[str, ...]

_NOTHING = object()
_LONGEST_VALUE = 80
_LONGEST_MAPPING = 40
_IN_YAML = {None: "null", True: "true", False: "false"}
_WANTED = {
    "bool": "true or false",
    "dict": "a mapping",
    "float": "a number",
    "int": "an integer",
    "list": "a list",
    "model": "a mapping",
    "model_attributes": "a mapping",
    "path": "a path",
    "string": "a text",
    "too_short": "longer",
    "tuple": "a list",
}
"""Stem of pydantic's error types, such as `int_parsing`, → what the job file must hold."""


def describe(error: ValidationError, given: Mapping[str, Any]) -> str:
    """Every fault as `dotted.key: value: what is wrong`, one a line.

    Arguments:
        error: of the validation.
        given: the values that were validated.
    """
    faults: dict[Keys, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        faults.setdefault(_keys(detail, given), []).append(detail)
    # where a value may have several forms, the fault that lies deepest is in the form that was meant
    deepest = [keys for keys in faults if not any(_lies_within(other, keys) for other in faults)]
    return "\n".join(_line(keys, faults[keys]) for keys in deepest)


def _lies_within(inner: Keys, outer: Keys) -> bool:
    return len(inner) > len(outer) and inner[: len(outer)] == outer


def _keys(detail: ErrorDetails, given: Any) -> Keys:
    """Where the fault lies; pydantic's names for the forms of a value are no keys of the file."""
    keys = []
    for step in detail["loc"]:
        inner = _inside(given, step)
        if inner is not _NOTHING:
            given = inner
            keys.append(str(step))
    if detail["type"] == "missing":
        keys.append(str(detail["loc"][-1]))
    return tuple(keys)


def _inside(given: Any, step: int | str) -> Any:
    if isinstance(given, Mapping):
        return {str(key): value for key, value in given.items()}.get(str(step), _NOTHING)
    if isinstance(given, list) and isinstance(step, int) and step < len(given):
        return given[step]
    return _NOTHING


def _line(keys: Keys, details: Sequence[ErrorDetails]) -> str:
    where = ".".join(keys) or "job"
    if details[0]["type"] == "missing":
        return f"{where}: this key is missing."
    wishes = list(dict.fromkeys(map(_wish, details)))
    wanted = [wish for wish in wishes if wish.startswith("must be ")]
    others = [wish for wish in wishes if wish not in wanted]
    alternatives = "must be " + ", or ".join(wish.removeprefix("must be ") for wish in wanted)
    text = "; ".join([*([alternatives] if wanted else []), *others])
    return f"{where}: {_shown(details[0], text)}{text}{_hint(details)}"


def _wish(detail: ErrorDetails) -> str:
    kind = detail["type"]
    wanted = _WANTED.get(kind) or _WANTED.get(re.sub("_(type|parsing|from_float|parsing_size)$", "", kind))
    if wanted:
        return f"must be {wanted}"
    return detail["msg"].removeprefix("Value error, ").replace("Input should ", "must ")


def _shown(detail: ErrorDetails, text: str) -> str:
    value = detail["input"]
    if value is None or isinstance(value, bool):
        return f"{_IN_YAML[value]}: "
    shown = repr(value)
    parts = value.values() if isinstance(value, Mapping) else [value]
    is_told = any(isinstance(part, str) and repr(part) in text for part in parts)
    if is_told or (isinstance(value, Mapping) and len(shown) > _LONGEST_MAPPING):
        return ""
    return f"{shown if len(shown) <= _LONGEST_VALUE else shown[:_LONGEST_VALUE] + '…'}: "


def _hint(details: Sequence[ErrorDetails]) -> str:
    expected = " ".join(str(detail.get("ctx", {}).get("expected", "")) for detail in details)
    match = nearest(details[0]["input"], re.findall(r"'([^']+)'", expected))
    return f". Did you mean {match!r}?" if match else ""
