"""`xattr-cli merge`: join the parts that shards have computed."""

from __future__ import annotations

import click

from .job import job_options, read_job
from .signals import stop_on_signals

__all__ = ["merge"]


@click.command()
@job_options
def merge(job: str, overrides: tuple[str, ...]) -> None:
    """Join the parts of JOB, computed by `run --shard`, into its result file.

    Refuses an incomplete set, and says which parts and which shards are missing.

    \b
    Example:
      xattr-cli run job.yaml --shard 1/2 & xattr-cli run job.yaml --shard 2/2; wait
      xattr-cli merge job.yaml
    """
    with stop_on_signals():
        from ..pipeline.run import merge_job

        merged = merge_job(read_job(job, overrides))
    click.echo(merged)
