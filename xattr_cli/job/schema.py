"""The JSON Schema of the job file, with the options of every plugin that is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from ..registry import BASELINES, DATASETS, ENGINES, MODELS, SCORES, Options, Registry
from .config import LABEL, PLUGIN_LIST, PLUGIN_PLACEHOLDER, Job
from .yaml_text import VARIABLE

__all__ = ["job_schema"]

Schema = dict[str, Any]

_VARIABLE = "variable"
_NOT_A_TEXT = ("boolean", "integer", "number")


def job_schema(tell: Callable[[str], None] = lambda fault: None) -> Schema:
    """JSON Schema (draft 2020-12) of a job file.

    Arguments:
        tell: hears about each plugin that is left out because its package is broken.
    """
    definitions: Schema = {
        _VARIABLE: {
            "description": "A value from the environment, such as ${SEED}.",
            "type": "string",
            "pattern": VARIABLE,
        }
    }
    for registry in (MODELS, DATASETS, BASELINES):
        _define_plugins(registry, registry.usable(tell), definitions)
    _define_scores(SCORES.usable(tell), definitions)
    engines = ENGINES.usable(tell)
    _define_plugins(ENGINES, engines, definitions)
    schema = _inlined("job", Job, definitions)
    schema["properties"]["engines"] = _engines(engines)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_resolved({**schema, "$defs": definitions}),
    }


def _inlined(key: str, options: type[Options], definitions: Schema) -> Schema:
    """Schema of one class; what it refers to joins the definitions under a name of its own."""
    schema: Schema = options.model_json_schema(ref_template=_reference(f"{key}.{{model}}"))
    for name, definition in schema.pop("$defs", {}).items():
        definitions[f"{key}.{name}"] = definition
    return schema


def _define_plugins(registry: Registry[Any], plugins: dict[str, Any], definitions: Schema) -> None:
    """Define every plugin of a registry, and the choice among them; a bare name stands for no options."""
    choices: list[Schema] = [{"enum": _brief(plugins)}]
    for name, plugin in plugins.items():
        key = _key(registry, name)
        options = _inlined(key, plugin, definitions)
        options["properties"] = {registry.tag: {"const": name}, **options.get("properties", {})}
        definitions[key] = options
        choices.append({"$ref": _reference(key), "required": [registry.tag]})
    definitions[_key(registry)] = {"anyOf": choices}


def _define_scores(scores: dict[str, Any], definitions: Schema) -> None:
    """`score:` is a name, or a mapping from one to its options."""
    choices: list[Schema] = [{"enum": _brief(scores)}]
    for name, score in scores.items():
        key = _key(SCORES, name)
        definitions[key] = _inlined(key, score, definitions)
        options: Schema = {"$ref": _reference(key)}
        options = {"anyOf": [options, {"type": "null"}]} if name in _brief(scores) else options
        choices.append(
            {"type": "object", "properties": {name: options}, "required": [name], "additionalProperties": False}
        )
    definitions[_key(SCORES)] = {"anyOf": choices}


def _key(registry: Registry[Any], name: str | None = None) -> str:
    noun = registry.noun.replace(" ", "-")
    return noun if name is None else f"{noun}.{name}"


def _reference(key: str) -> str:
    return f"#/$defs/{quote(key, safe='{}')}"


def _brief(plugins: dict[str, Any]) -> list[str]:
    """Those that need no options."""
    return [
        name
        for name, plugin in plugins.items()
        if not any(field.is_required() for field in plugin.model_fields.values())
    ]


def _engines(engines: dict[str, Any]) -> Schema:
    """`engines:` is a mapping, a list of names or one name; a label that is a name needs no `engine`."""
    anything = {"$ref": _reference(_key(ENGINES))}
    brief = _brief(engines)
    labelled: dict[str, Schema] = {}
    for name in engines:
        choices = [anything, {"$ref": _reference(_key(ENGINES, name))}]
        labelled[name] = {"anyOf": [*choices, {"type": "null"}] if name in brief else choices}
    return {
        "description": "Attribution methods: label -> options; the label is the engine unless `engine` says.",
        "anyOf": [
            {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": f"^{LABEL}$"},
                "properties": labelled,
                "additionalProperties": anything,
            },
            {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": brief}},
            {"enum": brief},
        ],
    }


def _resolved(node: Any) -> Any:
    """Placeholders become choices among plugins; where a text is wrong, `${VAR}` is right."""
    if isinstance(node, list):
        return [_resolved(each) for each in node]
    if not isinstance(node, dict):
        return node
    marks = (PLUGIN_PLACEHOLDER, PLUGIN_LIST)
    rest = {key: _resolved_keyword(key, value) for key, value in node.items() if key not in marks}
    if PLUGIN_PLACEHOLDER in node:
        plugin = {"$ref": _reference(node[PLUGIN_PLACEHOLDER].replace(" ", "-"))}
        several = {"anyOf": [plugin, {"type": "array", "minItems": 2, "items": plugin}]}
        return {**rest, **(several if PLUGIN_LIST in node else plugin)}
    if node.get("type") in _NOT_A_TEXT or "enum" in node:
        about = {key: rest.pop(key) for key in ("title", "description", "default") if key in rest}
        return {**about, "anyOf": [rest, {"$ref": _reference(_VARIABLE)}]}
    return rest


def _resolved_keyword(keyword: str, value: Any) -> Any:
    if keyword in ("properties", "$defs"):
        return {name: _resolved(schema) for name, schema in value.items()}
    return value if keyword in ("const", "default", "enum", "examples") else _resolved(value)
