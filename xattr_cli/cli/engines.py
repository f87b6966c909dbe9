"""`xattr-cli engines`: which methods there are, and their options."""

from __future__ import annotations

import json as json_format
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import click

__all__ = ["engines"]

WIDTH = 100


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
    from ..job.documentation import document, summary
    from ..registry import ENGINES

    if name:
        about = document(ENGINES.get(name))
        click.echo(json_format.dumps({name: about}, indent=2) if as_json else _page(name, about))
        return
    found = ENGINES.usable(lambda fault: click.echo(f"Warning: {fault}", err=True))
    if as_json:
        click.echo(json_format.dumps({each: document(engine) for each, engine in found.items()}, indent=2))
        return
    width = max(map(len, found))
    for each, engine in found.items():
        click.echo(f"{each:<{width}}  {summary(engine)}")


def _page(name: str, about: Mapping[str, Any]) -> str:
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
