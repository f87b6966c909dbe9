"""`xattr-cli run`: compute a job."""

from __future__ import annotations

import json as json_format
import logging
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..errors import ExitCode
from .job import job_options, read_job

if TYPE_CHECKING:
    from pathlib import Path

    from ..job.config import Job
    from ..pipeline.run import RunReport
    from ..store.shard import Shard

__all__ = ["RunOptions", "execute", "run", "run_options"]

Command = TypeVar("Command", bound=Callable[..., Any])


def run_options(command: Command) -> Command:
    """The options of the commands that compute a result, which are the fields of `RunOptions`."""
    options = (
        click.option(
            "--overwrite", is_flag=True, help="Replace a result, or parts of another job, at the same path."
        ),
        click.option(
            "--accept-changes",
            is_flag=True,
            help="Go on although the network's code, or a version, is another one than before; it is noted.",
        ),
        click.option(
            "--strict",
            is_flag=True,
            help="Exit with 3 if a row was quarantined, is inconsistent or did not converge.",
        ),
        click.option("--quiet", is_flag=True, help="No progress and no table; errors only."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True)
class RunOptions:
    """How a result is computed and told, as the command line says it."""

    overwrite: bool
    accept_changes: bool
    strict: bool
    quiet: bool
    as_json: bool

    @classmethod
    def taken_from(cls, parameters: dict[str, Any]) -> RunOptions:
        """Of what a command was given, which then no longer has them."""
        return cls(**{each.name: parameters.pop(each.name) for each in fields(cls)})


@click.command()
@job_options
@click.option(
    "--shard",
    metavar="I/N",
    help="Compute only every N-th part, or those of a list, 2,5-7/64; `merge` joins them.",
)
@run_options
@click.pass_context
def run(ctx: click.Context, /, job: str, overrides: tuple[str, ...], shard: str | None, **options: bool) -> None:
    """Explain every row of JOB (a YAML file, or - for standard input) into one HDF5 file.

    Interrupted or killed, the same command goes on where it stopped; finished, it does nothing; with another
    engine, more outputs or a higher dataset.limit it computes only what is new. Whether it is the same job is told
    by contents: of the files that it names, and of the network's code. In a Slurm array job every task takes its
    own shard, and so does every process of torchrun; there the first one merges when all are done. The table goes
    to standard output, everything else to standard error.

    \b
    Example:
      xattr-cli run configs/digits.yaml --set compute.device=cpu
    """
    execute(ctx, lambda: read_job(job, overrides), RunOptions(**options), shard=shard)


def execute(
    ctx: click.Context,
    read: Callable[[], Job],
    options: RunOptions,
    *,
    shard: str | None = None,
    begun: Callable[[], None] = lambda: None,
) -> None:
    """Compute a job, and say how it went.

    Arguments:
        read: the checked job.
        shard: the share of this process, I/N; None for all, or what the scheduler says.
        begun: called as soon as everything is checked, and also if there is nothing left to compute.
    """
    from .signals import stop_on_signals

    quiet = options.quiet
    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING)
    # before torch is imported: a signal during these seconds must not look like a crash either
    with stop_on_signals() as interrupt:
        from ..pipeline.run import run_job
        from .progress import report_progress, report_stages

        checked = read()
        share, joined = _shard(shard, checked.output.path, quiet)
        quiet = quiet or (joined and share is not None and 1 not in share.indices)  # the first speaks for all
        interrupt()
        with report_stages(quiet) as stage, report_progress(quiet) as progress:

            def tell_rows(done: int, total: int) -> None:
                begun()
                progress(done, total)

            def tell_steps(label: str, done: int, total: int) -> None:
                interrupt()
                begun()
                stage(label, done, total)

            report = run_job(
                checked,
                shard=share,
                join=joined,
                overwrite=options.overwrite,
                accept_changes=options.accept_changes,
                progress=tell_rows,
                stage=tell_steps,
                interrupt=interrupt,
                command_line=shlex.join(sys.argv),
            )
        begun()
    if report.reused and not quiet:
        click.echo(report.reused, err=True)
    incomplete = _print_outcome(report, options.as_json, quiet)
    if options.strict and incomplete:
        ctx.exit(ExitCode.INCOMPLETE)


def _shard(text: str | None, output: Path, quiet: bool) -> tuple[Shard | None, bool]:
    """The share of this process, and whether the processes of all shards were launched together."""
    import os

    from ..store import Shard, parts_folder
    from ..store.scheduler import launched_by
    from ..store.shard import shard_counts

    if text is not None:
        return Shard.parse(text), False
    launch = launched_by(os.environ, shard_counts(parts_folder(output)))
    if launch is None:
        return None, False
    if not (quiet or launch.joined):
        click.echo(f"{launch.scheduler}: computing shard {launch.shard}", err=True)
    return launch.shard, launch.joined


def _remaining(report: RunReport) -> str:
    if report.parts_missing:
        return f"shard done; {report.parts_missing} parts of other shards are missing. Then: xattr-cli merge JOB"
    return "shard done, and so are all others. Now: xattr-cli merge JOB"


def _print_outcome(report: RunReport, as_json: bool, quiet: bool) -> bool:
    """Say how the run went; True if rows are quarantined or inconsistent, or something has not converged."""
    if not report.merged:
        if as_json:
            click.echo(json_format.dumps(asdict(report)))
        elif not quiet:
            click.echo(_remaining(report), err=True)
        return False
    from ..reports.summary import summarize, summary_text
    from ..store.results.reader import Results

    with Results.open(report.output) as results:
        summary = summarize(results)
    if as_json:
        click.echo(json_format.dumps({**summary, **asdict(report)}))
    elif not quiet:
        click.echo(summary_text(summary))
    failed = ("not_converged", "inconsistent", "quarantined")
    incomplete_rows = any(engine[status] for engine in summary["engines"].values() for status in failed)
    return incomplete_rows or not all(e["converged"] for e in summary["effects"].values())
