"""`xattr-cli inspect`: what a result file holds, and how far it can be trusted."""

from __future__ import annotations

import click

__all__ = ["inspect"]


@click.command()
@click.argument("file", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def inspect(file: str, as_json: bool) -> None:
    """Say where FILE comes from, and how many of its rows converged at which error and cost.

    Reads the end of every array on the way: a truncated or incomplete file is an error (exit code 1).
    "|gap|" is the completeness gap relative to the change of the score.

    \b
    Example:
      xattr-cli inspect runs/digits/attributions.h5
      xattr-cli inspect runs/digits/attributions.h5 --json | jq .engines
    """
    import json

    from ..reports.summary import summarize, summary_text
    from ..store.results.reader import Results

    with Results.open(file) as results:
        results.verify()
        summary = summarize(results)
    click.echo(json.dumps(summary, allow_nan=False) if as_json else summary_text(summary))
