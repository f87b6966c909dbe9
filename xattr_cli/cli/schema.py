"""`xattr-cli schema`: the JSON Schema of the job file."""

from __future__ import annotations

import json

import click

__all__ = ["schema"]


@click.command()
def schema() -> None:
    """Print the JSON Schema of the job file, with every installed plugin, for editors and checkers.

    \b
    Example:
      xattr-cli schema > job.schema.json
      # first line of a job file, for editors that speak YAML:
      # yaml-language-server: $schema=job.schema.json
    """
    from ..job.schema import job_schema

    schema = job_schema(lambda fault: click.echo(f"Warning: {fault}", err=True))
    click.echo(json.dumps(schema, indent=2))
