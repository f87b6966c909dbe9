"""Everything that a user can ask for, a line each: commands and their options, keys of the job and their forms.

To see what a change has lost or brought:

    python -m scripts.options > after.txt
    cd OTHER_CHECKOUT && PYTHONPATH=. python HERE/scripts/options.py | diff - HERE/after.txt
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click

from xattr_cli.cli import main as command
from xattr_cli.job.schema import job_schema

__all__ = ["command_lines", "schema_lines"]

WORDS = {"description", "title", "examples"}
"""Of a schema, which say how a thing is told, not what it is."""


def main() -> None:
    print("\n".join(sorted({*command_lines(command), *schema_lines(job_schema(lambda fault: None))})))


def command_lines(command: click.Command, path: str = "xattr-cli") -> Iterator[str]:
    """Of a command and its subcommands."""
    for parameter in command.params:
        names = "/".join((*parameter.opts, *parameter.secondary_opts))
        kind = " ".join((parameter.type.name, *getattr(parameter.type, "choices", ())))
        many = parameter.multiple or parameter.nargs != 1
        yield f"{path} {names}: {kind}{' required' * parameter.required}{' several' * many}"
    for name, inner in getattr(command, "commands", {}).items():
        yield f"{path} {name}"
        yield from command_lines(inner, f"{path} {name}")


def schema_lines(schema: Any, path: str = "job") -> Iterator[str]:
    """Of every key below a JSON Schema: its path and its constraints."""
    if isinstance(schema, list) and any(isinstance(each, dict | list) for each in schema):
        for each in schema:
            yield from schema_lines(each, path)
    elif isinstance(schema, dict):
        for key, inner in schema.items():
            if key not in WORDS or isinstance(inner, dict):
                step = "" if key in ("anyOf", "oneOf", "allOf", "properties", "$defs") else f".{key}"
                yield from schema_lines(inner, path + step)
    else:
        yield f"{path} = {json.dumps(schema, ensure_ascii=False)}"


if __name__ == "__main__":
    main()
