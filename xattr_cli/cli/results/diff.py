"""`xattr-cli diff`: what differs between two results."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ...errors import ExitCode
from ..reading import ReadingCommand

__all__ = ["diff"]


class _Share(click.ParamType[float]):
    """A share as a number or in percent."""

    name = "share"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """0.05 of `5%` or `0.05`."""
        try:
            share = value if isinstance(value, float) else float(value.rstrip("% ")) / (100 if "%" in value else 1)
        except ValueError:
            self.fail(f"{value!r} is no share; give 5% or 0.05.", param, ctx)
        if not 0 <= share <= 1:
            self.fail(f"{value} is not between 0 and 1; give 5% or 0.05.", param, ctx)
        return share


@click.command(cls=ReadingCommand)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option(
    "--fail-over",
    type=_Share(),
    metavar="SHARE",
    help="Exit with 3 if more than this share of A's rows is not what it was, such as 5% or 0.05.",
)
@click.option(
    "--worst",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    help="How many of the rows furthest apart to name.",
)
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PAGE",
    help="Write an HTML page too: the rows that differ most first, with the maps of A and B side by side.",
)
@click.option(
    "--rows", type=click.IntRange(min=1), default=50, show_default=True, help="How many rows the page shows."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@click.pass_context
def diff(
    ctx: click.Context,
    a: Path,
    b: Path,
    fail_over: float | None,
    worst: int,
    report: Path | None,
    rows: int,
    as_json: bool,
) -> None:
    """Say how the result B differs from the result A: in the job, in predictions and scores, and in every map.

    Rows are matched by sample (its name, where there are names) and explained output. The distance of two maps is
    ‖b − a‖ / max(‖a‖, ‖b‖); "flips" are numbers of opposite signs. A row is not what it was if its maps differ
    by more than both error bars together (and by more than rounding, 0.01 %), or if B does not explain that output
    of that sample: exit code 3 with --fail-over, a check of a new model.

    \b
    Example:
      xattr-cli diff old.h5 new.h5 --fail-over 5% --report diff.html
      xattr-cli diff old.h5 new.h5 --json | jq .engines
    """
    from ...export.compare.difference import compare
    from ...export.compare.text import difference_text
    from ...store.results.reader import Results

    with Results.open(a) as one, Results.open(b) as two:
        found = compare(one, two)
        summary = found.summary(worst)
        if report is not None:
            from ...reports.html.comparison import write_comparison

            click.echo(write_comparison(found, report, rows=rows), err=True)
    click.echo(json.dumps(summary, allow_nan=False) if as_json else difference_text(summary))
    if fail_over is not None and found.worst_share > fail_over:
        click.echo(
            f"{found.worst_share:.1%} of the rows are not what they were, more than {fail_over:.1%}.", err=True
        )
        ctx.exit(ExitCode.INCOMPLETE)
