"""What pydantic finds wrong with a job, in the words of the job file: one line per dotted key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..errors import JobError, nearest

__all__ = ["describe", "refuse_unusable"]

Keys = tuple[str, ...]

_INTEGERS = range(-(2**63), 2**63)
# those that stand for bytes of a file name that is no UTF-8 are left alone
_HALF = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_MOST_FAULTS = 10
_LONGEST_KEY = 200
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


def refuse_unusable(value: Any, at: str = "") -> None:
    """Refuse what YAML can write and nothing can use: integers of more than 64 bits, and halves of characters.

    Raises:
        JobError: names the dotted key.
    """
    if isinstance(value, Mapping | list):
        for key, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            refuse_unusable(key, at)
            refuse_unusable(inner, f"{at}.{key}" if at else str(key))
    elif isinstance(value, int) and value not in _INTEGERS:
        raise JobError(f"{at}: an integer of more than 64 bits, which nothing here can use.")
    elif isinstance(value, str) and _HALF.search(value):
        raise JobError(f"{at or 'the job'}: holds half of a character (a lone surrogate), which no text can.")


def describe(error: ValidationError, content: Mapping[str, Any]) -> str:
    """Every fault as `dotted.key: value: what is wrong`, one a line.

    Arguments:
        error: of the validation.
        content: the values that were validated.
    """
    faults: dict[Keys, list[ErrorDetails]] = {}
    for detail in error.errors(include_url=False):
        faults.setdefault(_keys(detail, content), []).append(detail)
    # where a value may have several forms, the fault that lies deepest is in the form that was meant
    above = {keys[:depth] for keys in faults for depth in range(len(keys))}
    deepest = [keys for keys in faults if keys not in above]
    more = len(deepest) - _MOST_FAULTS
    lines = [_line(keys, faults[keys]) for keys in deepest[:_MOST_FAULTS]]
    return "\n".join([*lines, *([f"… and {more:,} more faults like these."] if more > 0 else [])])


def _keys(detail: ErrorDetails, content: Any) -> Keys:
    """Where the fault lies; pydantic's names for the forms of a value are no keys of the file."""
    keys = []
    for step in detail["loc"]:
        inner = _inside(content, step)
        if inner is not _NOTHING:
            content = inner
            keys.append(str(step))
    if detail["type"] == "missing":
        keys.append(str(detail["loc"][-1]))
    return tuple(keys)


def _inside(content: Any, step: int | str) -> Any:
    if isinstance(content, Mapping):
        if step in content:
            return content[step]
        return next((value for key, value in content.items() if str(key) == str(step)), _NOTHING)
    if isinstance(content, list) and isinstance(step, int) and step < len(content):
        return content[step]
    return _NOTHING


def _one_line(name: str) -> str:
    """A key as it is shown: nobody has to give keys of one short line."""
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in name[:_LONGEST_KEY])
    return shown if len(name) <= _LONGEST_KEY else f"{shown}…"


def _line(keys: Keys, details: Sequence[ErrorDetails]) -> str:
    where = _one_line(".".join(keys)) or "job"
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
    value = details[0]["input"]
    if isinstance(value, str) and (share := re.fullmatch(r"([0-9.]+) ?%", value)):
        return f"; {value} is {float(share[1]) / 100:g}" if share[1].count(".") < 2 and share[1] != "." else ""
    expected = " ".join(str(detail.get("ctx", {}).get("expected", "")) for detail in details)
    match = nearest(value, re.findall(r"'([^']+)'", expected))
    return f". Did you mean {match!r}?" if match else ""
