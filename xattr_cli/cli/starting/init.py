"""`xattr-cli init`: write a commented job file to start from."""

from __future__ import annotations

from pathlib import Path

import click

from ...errors import JobError
from ...job.starter import STARTERS, files_beside

__all__ = ["init"]


@click.command()
@click.argument("path", default="job.yaml", type=click.Path(path_type=Path))
@click.option(
    "--kind", type=click.Choice(list(STARTERS)), default="images", help="Kind of data that the job starts with."
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def init(path: Path, kind: str, overwrite: bool) -> None:
    """Write a commented starter job to PATH (job.yaml by default); - prints it.

    The job runs as it is, on a small data set that a package brings along, with a network that is trained when it
    is loaded. What a kind of data needs beside the job is written into the same folder.

    \b
    Example:
      xattr-cli init job.yaml --kind table && xattr-cli plan job.yaml && xattr-cli run job.yaml
    """
    if str(path) == "-":
        click.echo(STARTERS[kind], nl=False)
        return
    written = {path: STARTERS[kind], **{path.parent / name: text for name, text in files_beside(kind).items()}}
    for one in written:
        if one.exists() and not overwrite:
            raise JobError(f"{one}: exists already. Choose another name, or add --overwrite.")
    for one, content in written.items():
        try:
            one.write_text(content, encoding="utf-8")
        except OSError as error:
            raise JobError(f"{one}: cannot be written: {error.strerror}") from error
    click.echo(f"wrote {path}; edit it, then: xattr-cli plan {path}")
