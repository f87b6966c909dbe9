"""What there is to say about a plugin: its docstring, and its options with types, defaults and meanings."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_jsonable_python

from ..registry import BASELINES, Options
from .config import PLUGIN_LIST, PLUGIN_PLACEHOLDER

__all__ = ["document", "summary"]

_TYPES = {
    "boolean": "true or false",
    "integer": "integer",
    "null": "null",
    "number": "number",
    "object": "mapping",
    "string": "text",
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def summary(plugin: type[Options]) -> str:
    """The first sentence of its docstring, in one line."""
    return _text(plugin).split("\n\n")[0].replace("\n", " ")


def document(plugin: type[Options], *, with_baselines: bool = True) -> dict[str, Any]:
    """All that a user of a plugin should know.

    Arguments:
        plugin: registered class, or a section of the job.
        with_baselines: document the kinds of baselines too, where it takes one.

    Returns:
        `summary` and `documentation`, texts; `options`, name → `type`, `required`, `default` (as in
        YAML; None if it is required), `description`, and `options` again where it is a mapping with
        options of its own; and if it takes a baseline, `baselines`,
        kind → the same about it.
    """
    fields, schema = plugin.model_fields, plugin.model_json_schema()["properties"]
    about: dict[str, Any] = {
        "summary": summary(plugin),
        "documentation": _text(plugin),
        "options": {name: _option(fields[name], details) for name, details in schema.items()},
    }
    if with_baselines and any(details.get(PLUGIN_PLACEHOLDER) == BASELINES.noun for details in schema.values()):
        # a kind may itself take a baseline, and so on
        kinds = BASELINES.usable(_ignore).items()
        about["baselines"] = {name: document(kind, with_baselines=False) for name, kind in kinds}
    return about


def _ignore(_fault: str) -> None:
    """A broken kind of baseline is reported where it is asked for."""


def _text(plugin: type[Options]) -> str:
    return inspect.cleandoc(plugin.__doc__ or "(no documentation)")


def _option(field: Any, details: Mapping[str, Any]) -> dict[str, Any]:
    required = field.is_required()
    default = None if required else field.get_default(call_default_factory=True)
    about = {
        "type": _type(details),
        "required": required,
        "default": to_jsonable_python(default),
        "description": field.description or "",
    }
    # options inside of options are documented one by one, as their defaults in one line say little
    if isinstance(default, Options) and f"/{type(default).__name__}'" in str(details):
        inner = type(default).model_fields
        schema = type(default).model_json_schema().get("properties", {})
        if schema:
            brief = about["default"] if isinstance(about["default"], str) else {}
            about |= {"default": brief, "options": {key: _option(inner[key], d) for key, d in schema.items()}}
    return about


def _type(details: Mapping[str, Any]) -> str:
    if PLUGIN_PLACEHOLDER in details:
        listed = ", or a list of these" if PLUGIN_LIST in details else ""
        return f"{details[PLUGIN_PLACEHOLDER]}, or {{kind: NAME, its options}}{listed}"
    if "$ref" in details:
        return "mapping"
    if "anyOf" in details:
        return " or ".join(dict.fromkeys(map(_type, details["anyOf"])))
    if "enum" in details:
        return " | ".join(map(str, details["enum"]))
    if "const" in details:
        return str(details["const"])
    kinds = details.get("type", "text, list or mapping")
    if isinstance(kinds, list):
        return " or ".join(_type({**details, "type": kind}) for kind in kinds)
    return _simple_type(kinds, details)


def _simple_type(kind: str, details: Mapping[str, Any]) -> str:
    if kind == "array":
        noun, space, rest = _type(details.get("items", {})).partition(" ")
        return f"list of {noun}{'s' if noun in _TYPES.values() else ''}{space}{rest}"
    if details.get("format") == "path":
        return "path"
    bounds = [f" {sign} {details[key]:g}" for key, sign in _BOUNDS.items() if key in details]
    return _TYPES.get(kind, kind) + " and".join(bounds)
