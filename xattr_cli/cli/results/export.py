"""`xattr-cli export`: a result in the format of another program."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..reading import ReadingCommand, engines_option
from ..reference.completion import plugin_names

if TYPE_CHECKING:
    from ...export.base import Exporter

__all__ = ["export"]


@click.command(cls=ReadingCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "format_",
    required=True,
    metavar="FORMAT",
    help="Which; `xattr-cli ls exporters` lists them.",
    shell_complete=plugin_names("exporters"),
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="File or folder to write; default: beside FILE.",
)
@engines_option("export")
@click.option("--target", type=int, metavar="N", help="Only rows that explain this output.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="K",
    help="Of tables: the K features of the largest |attribution| a row.",
)
@click.option(
    "--set",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the format; `xattr-cli exporters FORMAT` documents them.",
)
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def export(
    file: Path,
    format_: str,
    output: Path | None,
    engines: tuple[str, ...],
    target: int | None,
    top: int | None,
    options: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Write FILE, the result of a run, in the format of another program.

    Results are read and written block by block, however large they are. The path of what was written goes to
    standard output, what its reader should know to standard error.

    \b
    Example:
      xattr-cli export runs/digits/attributions.h5 --to parquet --top 5
      xattr-cli export runs/digits/attributions.h5 --to quantus --engine integrated_gradients -o digits.npz
    """
    from ...export.source import choose
    from ...export.write import default_path
    from ...export.write import export as write
    from ...registry import EXPORTERS
    from ...store.results.reader import Results
    from .options import with_options

    given = (*options, *([f"top={top}"] if top is not None else []))
    exporter: Exporter = with_options(EXPORTERS.get(format_), given, f"--to {format_}")
    with Results.open(file) as results:
        source = choose(results, engines or None, target)
        path = output or default_path(file, exporter)
        click.echo(write(source, exporter, path, overwrite=overwrite, tell=_tell))


def _tell(note: Any) -> None:
    click.echo(f"Note: {note}", err=True)
