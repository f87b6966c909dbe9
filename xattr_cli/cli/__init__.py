"""The command line: commands parse, call the library and print; nothing heavy is imported before it is needed."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import click

from .. import __version__
from ..errors import ExitCode, XattrError
from .apply_ace import apply_ace
from .cluster.slurm import slurm
from .cluster.status import status
from .evaluate import evaluate
from .inspect import inspect
from .merge import merge
from .plan import plan
from .plot import plot
from .printing import printable
from .reading import CONTAINED
from .reference.checks import checks
from .reference.kinds import KINDS, engines, kind_command, ls
from .reference.sections import job
from .report import report
from .results.combine import combine
from .results.diff import diff
from .results.export import export
from .results.top import top
from .run import run
from .schema import schema
from .starting.explain import explain
from .starting.init import init

__all__ = ["CONTAINED", "main"]


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _forget_output() -> None:
    """What could not be written to standard output would be tried again at exit, with another complaint."""
    if sys.stdout is sys.__stdout__:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _with_key_of_job(error: click.NoSuchOption) -> click.UsageError:
    """The same error, with the key of the job that an option would set."""
    from ..job.config import Job, keys_named

    name = error.option_name.lstrip("-").replace("-", "_")
    keys = keys_named(name, {}) or [name] * (name in Job.model_fields and not error.possibilities)
    if not keys:
        return error
    told = " or ".join(f"--set {key}=…" for key in keys)
    return click.UsageError(f"No such option {error.option_name!r}. It is a key of the job: {told}", error.ctx)


class _Group(click.Group):
    """Reports domain errors as one message and their exit code, never as a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except XattrError as error:
            click.echo(printable(f"Error: {error}"), err=True)
            ctx.exit(error.exit_code)
        except click.NoSuchOption as error:
            if error.ctx is not None and any(each.name == "overrides" for each in error.ctx.command.params):
                raise _with_key_of_job(error) from error
            raise
        except OSError as error:
            if error.errno not in _FULL:
                raise
            click.echo(f"Error: {error.filename or 'the output'} cannot be written: {error.strerror}.", err=True)
            _forget_output()
            ctx.exit(ExitCode.FAILED)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)  # in the order of a first use, not of the alphabet

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        # `xattr-cli datasets table` is short for `xattr-cli ls datasets table`
        found = super().get_command(ctx, cmd_name)
        return kind_command(cmd_name) if found is None and cmd_name in KINDS else found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            # click itself would cut the sentences short
            formatter.write_dl([(n, c.get_short_help_str(limit=1000)) for n, c in self.commands.items()])


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="xattr-cli")
def main() -> None:
    """Explain trained networks in batch, with an error bar on every map.

    A YAML job file names a model, a dataset and one or more attribution engines; `run` writes an HDF5
    file that says for every row how far its map can be trusted.

    \b
    Exit codes: 0 done, 1 failed, 2 wrong job or usage, 3 done but not all rows
    converged (with --strict), 75 interrupted: run the same command to resume. A
    second signal ends the process at once, with 75 too.

    \b
    Example:
      xattr-cli init job.yaml && xattr-cli plan job.yaml && xattr-cli run job.yaml
    """


for _command in (
    init, explain, plan, run, status, merge, slurm, inspect, report, top, plot, export, diff, combine, evaluate,
    apply_ace, engines, ls, job, schema, checks,
):  # fmt: skip
    main.add_command(_command)
