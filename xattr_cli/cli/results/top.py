"""`xattr-cli top`: what mattered most in single rows."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Any

import click

from ..reading import ReadingCommand, engines_option

__all__ = ["top"]


@click.command(cls=ReadingCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--row",
    "rows",
    multiple=True,
    type=int,
    metavar="N",
    help="Row by its number; may be repeated; default: the first.",
)
@engines_option("show")
@click.option(
    "--count", type=click.IntRange(min=1), default=10, show_default=True, help="How many features of each map."
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object per row and engine instead of tables."
)
def top(file: Path, rows: tuple[int, ...], engines: tuple[str, ...], count: int, as_json: bool) -> None:
    """Name the features of the largest |attribution| in rows of FILE, with their values and errors.

    \b
    Example:
      xattr-cli top runs/digits/attributions.h5 --row 17
      xattr-cli top runs/digits/attributions.h5 --row 17 --engine integrated_gradients --count 3
    """
    from ...export.ranking import ranking, ranking_text
    from ...export.source import choose
    from ...store.results.reader import Results

    with Results.open(file) as results:
        found: list[dict[str, Any]] = ranking(choose(results, engines or None, None), rows, count)
    for about in found:
        click.echo(json_format.dumps(about, allow_nan=False) if as_json else ranking_text(about))
