"""`xattr-cli inspect`: what a result file holds, and how far it can be trusted."""

from __future__ import annotations

import click

from .printing import printable
from .reading import ReadingCommand

__all__ = ["inspect"]


@click.command(cls=ReadingCommand)
@click.argument("file", type=click.Path())
@click.option("--verify", "verified", is_flag=True, help="Read all of FILE, and compare it with its checksums.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def inspect(file: str, verified: bool, as_json: bool) -> None:
    """Say where FILE comes from, and how many of its rows converged at which error and cost.

    Reads the end of every array on the way: a truncated or incomplete file is an error (exit code 2), and with
    --verify so is one in which a single bit has changed.
    "|gap|" is the completeness gap relative to the change of the score.

    \b
    Example:
      xattr-cli inspect runs/digits/attributions.h5
      xattr-cli inspect runs/digits/attributions.h5 --verify
      xattr-cli inspect runs/digits/attributions.h5 --json | jq .engines
    """
    import json

    from ..reports.summary import summarize, summary_text
    from ..store.results.reader import Results

    with Results.open(file) as results:
        results.verify()
        checked = results.verify_checksums() if verified else 0
        summary = summarize(results) | ({"verified_datasets": checked} if verified else {})
    click.echo(json.dumps(summary, allow_nan=False) if as_json else printable(summary_text(summary)))
    if verified and not as_json:
        click.echo(f"checksums of {checked} datasets and of their attributes are right")
