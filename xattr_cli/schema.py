"""The JSON Schema of the job file, with the options of every plugin that is installed."""

from __future__ import annotations

from typing import Any

from .config import PLUGIN_PLACEHOLDER, Job
from .registry import BASELINES, DATASETS, ENGINES, MODELS, Registry

__all__ = ["job_schema"]


def job_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a job file."""
    schema = Job.model_json_schema(ref_template="#/$defs/{model}")
    definitions = schema.setdefault("$defs", {})
    for registry in (MODELS, DATASETS, BASELINES, ENGINES):
        definitions[registry.noun] = _any_of(registry, definitions)
    _let_engines_be_brief(schema, definitions)
    resolved = _resolve(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **resolved}


def _resolve(node: Any) -> Any:
    """Every placeholder of a plugin becomes a reference to the choice among all plugins of its sort."""
    if isinstance(node, list):
        return [_resolve(each) for each in node]
    if not isinstance(node, dict):
        return node
    if PLUGIN_PLACEHOLDER in node:
        rest = {key: value for key, value in node.items() if key != PLUGIN_PLACEHOLDER}
        return {**rest, "$ref": f"#/$defs/{node[PLUGIN_PLACEHOLDER]}"}
    return {key: _resolve(value) for key, value in node.items()}


def _any_of(registry: Registry[Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A choice among the plugins of a registry; their own definitions join the common ones."""
    choices = []
    for name in registry.names():
        key = f"{registry.noun} {name}"
        options = registry.get(name).model_json_schema(ref_template="#/$defs/{model}")
        definitions |= options.pop("$defs", {})
        options["properties"] = {registry.tag: {"const": name}, **options.get("properties", {})}
        options["required"] = [registry.tag, *options.get("required", [])]
        definitions[key] = options
        choices.append({"$ref": f"#/$defs/{key}"})
    # a bare name stands for a plugin without options
    return {"anyOf": [*choices, {"enum": registry.names()}]}


def _let_engines_be_brief(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """In `engines:` the label stands for the engine's name, and no options at all may follow it."""
    labelled: dict[str, Any] = {}
    for name in ENGINES.names():
        options = dict(definitions[f"engine {name}"])
        options["required"] = [key for key in options["required"] if key != ENGINES.tag]
        labelled[name] = {"anyOf": [{"type": "null"}, options]}
    full = {"$ref": f"#/$defs/{ENGINES.noun}"}
    schema["properties"]["engines"] = {
        "description": "Attribution methods: label -> options; the label is the engine unless `engine` says.",
        "anyOf": [
            {
                "type": "object",
                "minProperties": 1,
                "properties": {name: {"anyOf": [full, brief]} for name, brief in labelled.items()},
                "additionalProperties": full,
            },
            {"type": "array", "minItems": 1, "items": {"enum": ENGINES.names()}},
            {"enum": ENGINES.names()},
        ],
    }
