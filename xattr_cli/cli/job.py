"""Options that the commands on a job file share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import JobError
from .reference.completion import file_names, job_keys

if TYPE_CHECKING:
    from ..job.config import Job

__all__ = ["job_options", "read_job"]

Command = TypeVar("Command", bound=Callable[..., Any])


def job_options(command: Command) -> Command:
    """The argument JOB and the option --set."""
    command = click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        shell_complete=job_keys,
        help="Override a key of the job, such as compute.device=cpu; may be repeated.",
    )(command)
    return click.argument("job", metavar="JOB", shell_complete=file_names)(command)


def read_job(source: str, overrides: tuple[str, ...]) -> Job:
    """The checked job of a file, or of standard input if `source` is `-`."""
    from ..job.config import load_job, parse_job

    if source == "-":
        return parse_job(_standard_input(), folder=Path.cwd(), overrides=overrides)
    return load_job(source, overrides)


def _standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise JobError(f"the job on standard input is not text: {error}") from error
