"""`xattr-cli ls`, and a command per kind of plugin: what there is, and every option of it."""

from __future__ import annotations

import json as json_format
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import click

from .completion import plugin_names

__all__ = ["KINDS", "engines", "kind_command", "ls", "page"]

WIDTH = 100
KINDS = {
    "models": ("kinds of models, what a job names as model.kind", "torchvision"),
    "datasets": ("kinds of datasets, what a job names as dataset.kind", "table"),
    "baselines": ("kinds of baselines, what an engine of a job names as baseline.kind", "samples"),
    "engines": ("attribution engines", "integrated_gradients"),
    "scores": ("scores, the number that is explained of the network's outputs", "log_probability"),
    "figures": ("kinds of figures, what `plot --kind` draws", "samples"),
    "exporters": ("formats that `export --to` writes", "parquet"),
    "metrics": ("metrics of maps, what `evaluate --metric` measures", "road"),
}
"""Kind of plugin → what it is, and a member for the example."""


def kind_command(kind: str) -> click.Command:
    """The command that lists the plugins of a kind, or documents one."""
    meaning, example = KINDS[kind]

    @click.command(
        kind,
        help=f"""List the {meaning}, or document the options of one of them.

        \b
        Example:
          xattr-cli {kind}
          xattr-cli {kind} {example}
        """,
    )
    @click.argument("name", required=False, shell_complete=plugin_names(kind))
    @click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
    def command(name: str | None, as_json: bool) -> None:
        _tell(kind, name, as_json)

    return command


engines = kind_command("engines")


@click.command()
@click.argument("kind", required=False, type=click.Choice(list(KINDS)))
@click.argument("name", required=False, shell_complete=plugin_names())
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def ls(kind: str | None, name: str | None, as_json: bool) -> None:
    """List what can be named in a job or on the command line: KIND by KIND, or all options of NAME.

    Kinds: models, datasets, baselines, engines, scores, figures, exporters, metrics. `xattr-cli KIND NAME` is
    short for `xattr-cli ls KIND NAME`; `xattr-cli job` has the other keys of a job.

    \b
    Example:
      xattr-cli ls
      xattr-cli ls datasets table
    """
    from ...registry import REGISTRIES

    if kind:
        _tell(kind, name, as_json)
        return
    names = {each: REGISTRIES[each].names() for each in KINDS}
    if as_json:
        click.echo(json_format.dumps(names, indent=2))
        return
    for each, members in names.items():
        click.echo(
            "\n".join(
                textwrap.wrap(", ".join(members), WIDTH, initial_indent=f"{each:<11}", subsequent_indent=" " * 11)
            )
        )


def _tell(kind: str, name: str | None, as_json: bool) -> None:
    from ...job.documentation import document, summary
    from ...registry import REGISTRIES

    registry = REGISTRIES[kind]
    if name:
        about = document(registry.get(name))
        click.echo(json_format.dumps({name: about}, indent=2) if as_json else page(name, about))
        return
    found = registry.usable(lambda fault: click.echo(f"Warning: {fault}", err=True))
    if as_json:
        click.echo(json_format.dumps({each: document(member) for each, member in found.items()}, indent=2))
        return
    width = max(map(len, found))
    for each, member in found.items():
        click.echo(f"{each:<{width}}  {summary(member)}")


def page(name: str, about: Mapping[str, Any]) -> str:
    """What `document` says of a plugin or of a section of the job, as text."""
    lines = [name, "", about["documentation"], "", "Options:"]
    lines += _option_lines(about["options"]) if about["options"] else ["  none"]
    if "baselines" in about:
        lines += ["", "Baselines:", *_baseline_lines(about["baselines"])]
    return "\n".join(lines)


def _option_lines(options: Mapping[str, Any]) -> Iterator[str]:
    width = max(map(len, options))
    for name, option in options.items():
        yield f"  {name:<{width}}  {_type_and_default(option)}"
        yield from _indented(option["description"], width + 4)
        yield from _inner_lines(option.get("options", {}), width + 6)


def _inner_lines(options: Mapping[str, Any], by: int) -> Iterator[str]:
    """Options inside of an option, or of a baseline: a sentence each."""
    for key, option in options.items():
        meaning = f"; {option['description']}" if option["description"] else ""
        yield from _indented(f"{key}: {_type_and_default(option)}{meaning}", by)


def _baseline_lines(baselines: Mapping[str, Any]) -> Iterator[str]:
    width = max(map(len, baselines))
    for name, about in baselines.items():
        head, *rest = _indented(about["summary"], width + 4)
        yield f"  {name:<{width}}  {head.strip()}"
        yield from rest
        yield from _inner_lines(about["options"], width + 6)


def _type_and_default(option: Mapping[str, Any]) -> str:
    value = "required" if option["required"] else f"default {_yaml(option['default'])}"
    return f"{option['type']}; {value}"


def _indented(text: str, by: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * by, subsequent_indent=" " * by)


def _yaml(value: Any) -> str:
    import yaml

    written: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=WIDTH)
    return written.removesuffix("...\n").strip()
