"""`xattr-cli init`: write a commented job file to start from."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import JobError

__all__ = ["init"]


@click.command()
@click.argument("path", default="job.yaml", type=click.Path(path_type=Path))
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
def init(path: Path, overwrite: bool) -> None:
    """Write a commented starter job to PATH (job.yaml by default); - prints it.

    \b
    Example:
      xattr-cli init job.yaml
    """
    from ..job.starter import STARTER_JOB

    if str(path) == "-":
        click.echo(STARTER_JOB, nl=False)
        return
    if path.exists() and not overwrite:
        raise JobError(f"{path}: exists already. Choose another name, or add --overwrite.")
    try:
        path.write_text(STARTER_JOB, encoding="utf-8")
    except OSError as error:
        raise JobError(f"{path}: cannot be written: {error.strerror}") from error
    click.echo(f"wrote {path}; edit it, then: xattr-cli plan {path}")
