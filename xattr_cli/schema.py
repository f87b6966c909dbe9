"""The JSON Schema of the job file, with the options of every plugin that is installed."""

from __future__ import annotations

from typing import Any

from .config import Job
from .registry import BASELINES, DATASETS, ENGINES, MODELS, Registry

__all__ = ["job_schema"]


def job_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a job file."""
    schema = Job.model_json_schema(ref_template="#/$defs/{model}")
    definitions = schema.setdefault("$defs", {})
    for registry in (MODELS, DATASETS, BASELINES, ENGINES):
        definitions[registry.noun] = _any_of(registry, definitions)
    _let_engines_be_brief(schema, definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


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
    return {"anyOf": choices}


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
