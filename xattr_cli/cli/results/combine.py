"""`xattr-cli combine`: mean and spread of folds."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from ..reading import ReadingCommand

__all__ = ["combine"]


@click.command(cls=ReadingCommand)
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, metavar="PATH", help="The result to write."
)
@click.option("--common", is_flag=True, help="Take the rows that all FILES have, not only if all have the same.")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
def combine(files: tuple[Path, ...], output: Path, common: bool, overwrite: bool) -> None:
    """Write the mean over FILES, results of several networks on the same samples, such as the folds of one model.

    The new result has the mean map of every row and engine, and beside it the standard deviation between the
    networks (`spread`, `score_spread`). All other commands read it. Explain `target: label` or `{index: N}`, lest
    networks that predict otherwise explain other outputs.

    \b
    Example:
      xattr-cli combine fold-1.h5 fold-2.h5 fold-3.h5 -o folds.h5
    """
    from ...export.compare.combine import combine as write
    from ...store.results.reader import Results

    with ExitStack() as stack:
        opened = [stack.enter_context(Results.open(file)) for file in files]
        rows = write(opened, output, common=common, overwrite=overwrite)
    click.echo(f"{rows} rows of {len(files)} results", err=True)
    click.echo(output)
