"""`xattr-cli report`: one HTML page of one or several result files."""

from __future__ import annotations

from pathlib import Path

import click

from .reading import ReadingCommand, engines_option

__all__ = ["report"]


@click.command(cls=ReadingCommand)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PAGE",
    help="Where the page goes; default: the name of the first FILE with the ending .html.",
)
@click.option(
    "--rows",
    default="200",
    show_default=True,
    metavar="CHOICE",
    help="Rows to show: all, N (evenly spread), or first:N, worst:N, best:N (by error), highest:N, lowest:N "
    "(by score), wrong:N, disagree:N (of the engines).",
)
@click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Show only rows that fulfil it, such as 'error > 5% and label != predicted'; may be repeated. Columns: "
    "row, sample, key, label, predicted, target, correct, score, error, gap, evaluations, status, agreement, "
    "error.ENGINE, score.ENGINE.",
)
@engines_option("show")
def report(
    files: tuple[Path, ...], output: Path | None, rows: str, where: tuple[str, ...], engines: tuple[str, ...]
) -> None:
    """Write one HTML page of what FILE, the result of a run, holds: evidence, rows beside their maps, figures.

    The page needs no network and no other file; neither model nor data are needed. Several files of the same data
    stand beside each other, row by row. Its path goes to standard output.

    \b
    Example:
      xattr-cli report runs/digits/attributions.h5
      xattr-cli report a.h5 b.h5 -o both.html --rows worst:20 --where "label != predicted"
    """
    from ..reports.html.report import write_report

    page = output or files[0].with_suffix(".html")
    click.echo(write_report(files, page, engines=engines or None, rows=rows, where=where))
