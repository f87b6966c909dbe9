"""`xattr-cli engines`: which methods there are, and their options."""

from __future__ import annotations

import json as json_format
from typing import Any

import click

__all__ = ["engines"]


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def engines(name: str | None, as_json: bool) -> None:
    """List the attribution engines, or document the options of one of them.

    \b
    Example:
      xattr-cli engines
      xattr-cli engines integrated_gradients
    """
    from ..registry import ENGINES

    documented = {n: _describe(ENGINES.get(n)) for n in ([name] if name else ENGINES.names())}
    if as_json:
        click.echo(json_format.dumps(documented, indent=2))
    elif name:
        click.echo(_page(name, documented[name]))
    else:
        width = max(map(len, documented))
        for each, about in documented.items():
            click.echo(f"{each:<{width}}  {about['summary']}")


def _describe(engine: Any) -> dict[str, Any]:
    import inspect

    schema = engine.model_json_schema()
    text = inspect.getdoc(engine) or "(no documentation)"
    options = {
        option: {
            "type": _type_text(details),
            "default": _default(engine.model_fields[option]),
            "description": details.get("description", ""),
        }
        for option, details in schema.get("properties", {}).items()
    }
    return {"summary": text.split("\n\n")[0].replace("\n", " "), "documentation": text, "options": options}


def _default(field: Any) -> Any:
    return "required" if field.is_required() else field.default


def _type_text(details: dict[str, Any]) -> str:
    if "$ref" in details:
        return str(details["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in details:
        return " | ".join(_type_text(each) for each in details["anyOf"])
    if "enum" in details:
        return " | ".join(map(str, details["enum"]))
    if "const" in details:
        return str(details["const"])
    if details.get("type") == "array":
        return f"list of {_type_text(details.get('items', {}))}"
    return str(details.get("type", "any"))


def _page(name: str, about: dict[str, Any]) -> str:
    lines = [name, "", about["documentation"], "", "Options:"]
    for option, details in about["options"].items():
        lines.append(f"  {option}: {details['type']}, default {_yaml(details['default'])}")
        if details["description"]:
            lines.append(f"      {details['description']}")
    if not about["options"]:
        lines.append("  none")
    return "\n".join(lines)


def _yaml(value: Any) -> str:
    return json_format.dumps(value) if not isinstance(value, str) else value
