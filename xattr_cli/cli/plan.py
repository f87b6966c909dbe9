"""`xattr-cli plan`: check a job and say what it would take."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict

import click

from .job import job_options, read_job

__all__ = ["plan"]


@click.command()
@job_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def plan(job: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check everything about JOB, and say what it would take: rows, evaluations, memory, time, disk.

    Runs nothing but a probe of a few rows, and writes nothing.

    \b
    Example:
      xattr-cli plan job.yaml
    """
    from ..pipeline.planning import plan_job, plan_text

    estimate = plan_job(read_job(job, overrides))
    click.echo(json_format.dumps(asdict(estimate)) if as_json else plan_text(estimate))
