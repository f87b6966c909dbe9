"""`xattr-cli status`: how far a job is, from any machine that sees its files."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..job import job_options, read_job

if TYPE_CHECKING:
    from ...store.status import JobStatus

__all__ = ["status"]

SECONDS_BETWEEN_LOOKS = 2.0
_LISTED_WORKERS = 8


@click.command()
@job_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --watch, one a line.")
@click.option("--watch", is_flag=True, help="Look again every two seconds, until the job is done.")
def status(job: str, overrides: tuple[str, ...], as_json: bool, watch: bool) -> None:
    """Say how far JOB is, while it runs or later: rows done, rate, time left, shards at work, rows not converged.

    JOB is the job file, its result, or the folder of its parts. Nothing is changed, and no process is asked: the
    parts and their locks are looked at, from any machine that sees them.

    \b
    Example:
      xattr-cli status job.yaml --watch
    """
    from ...store.status import StatusReader

    reader = StatusReader(_output(job, overrides))
    try:
        while True:
            state = reader.read()
            text = json.dumps(state.as_json()) if as_json else status_text(state)
            click.echo(text if not watch or as_json else f"{text}\n")
            if not watch or state.state == "done":
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except KeyboardInterrupt:  # of somebody who has watched enough
        return


def _output(job: str, overrides: tuple[str, ...]) -> Path:
    from ...store.status import output_of

    if job != "-" and (output := output_of(Path(job))) is not None:
        return output
    return read_job(job, overrides).output.path


def status_text(state: JobStatus) -> str:
    """A status for people, a fact a line."""
    lines = [f"output   {state.output}", f"state    {state.state}{_state_note(state)}"]
    if state.rows is not None and state.rows_done is not None:
        share = f" ({state.rows_done / state.rows:.1%})" if state.rows else ""
        parts = f", {state.parts_done:,} of {state.parts:,} parts" if state.parts is not None else ""
        lines.append(f"rows     {state.rows_done:,} of {state.rows:,}{share}{parts}")
    if state.steps_kept:
        lines.append(f"steps    {state.steps_kept} of studies of the whole dataset are kept")
    if state.rows_per_second is not None and state.seconds_left is not None:
        remaining = timedelta(seconds=round(state.seconds_left))
        lines.append(f"rate     {state.rows_per_second:,.3g} rows/s, {remaining} left")
    if state.workers:
        lines.append(f"at work  {_workers_text(state)}")
    for label, counts in state.engines.items():
        named = [f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count]
        lines.append(f"engine   {label}: {', '.join(named) or 'no rows yet'}")
    return "\n".join(lines)


def _state_note(state: JobStatus) -> str:
    if state.state == "computed":
        return "; now: xattr-cli merge JOB"
    if state.state == "stopped":
        return "; nobody is at work, the same command goes on"
    if state.state == "merging" and state.merged_parts is not None:
        return f", {state.merged_parts:,} of {state.parts:,} parts"
    return ""


def _workers_text(state: JobStatus) -> str:
    shards = [worker.shard for worker in state.workers if worker.shard is not None]
    if not shards:
        return state.workers[0].holder
    listed = ", ".join(f"{worker.shard} ({worker.holder})" for worker in state.workers[:_LISTED_WORKERS])
    more = f", and {len(shards) - _LISTED_WORKERS} more" if len(shards) > _LISTED_WORKERS else ""
    return f"{len(shards)} shard{'s' if len(shards) > 1 else ''}: {listed}{more}"
