"""`xattr-cli plot`: figures of a result file."""

from __future__ import annotations

from pathlib import Path

import click

from .reading import ReadingCommand, engines_option
from .reference.completion import plugin_names

__all__ = ["plot"]


class _Kinds(click.Option):
    """The option --kind, whose help names what is installed; only that imports the figures."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        from ..registry import FIGURES

        flag, meaning = super().get_help_record(ctx) or ("", "")
        return flag, f"{meaning} Kinds: {', '.join(FIGURES.names())}."


@click.command(cls=ReadingCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "--output",
    "-o",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder for the figures; default: FILE's name without its ending and with -plots, beside it.",
)
@click.option(
    "--kind",
    "kinds",
    cls=_Kinds,
    multiple=True,
    metavar="KIND",
    shell_complete=plugin_names("figures"),
    help="Kind of figure to draw; may be repeated; default: all that apply.",
)
@engines_option("show")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="How many samples to show one by one.",
)
@click.option(
    "--row",
    "rows",
    multiple=True,
    type=int,
    metavar="N",
    help="Row to show instead of --samples, by its number; may be repeated.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["png", "pdf", "svg"]),
    default="png",
    show_default=True,
    help="Of the figures; coloured tokens are written as .html too.",
)
@click.option("--dpi", type=click.IntRange(10, 1200), default=150, show_default=True, help="Dots per inch.")
def plot(
    file: Path,
    folder: Path | None,
    kinds: tuple[str, ...],
    engines: tuple[str, ...],
    samples: int,
    rows: tuple[int, ...],
    format_: str,
    dpi: int,
) -> None:
    """Draw what FILE, the result of a run, holds; neither model nor data are needed.

    The paths of the figures go to standard output; why a kind that was asked for does not apply goes
    to standard error.

    \b
    Example:
      xattr-cli plot runs/digits/attributions.h5 --kind samples --samples 4
      xattr-cli plot runs/digits/attributions.h5 --row 17 --engine integrated_gradients --format pdf
    """
    from ..reports.gallery import plot_all
    from ..store.results.reader import Results

    with Results.open(file) as results:
        paths = plot_all(
            results,
            folder or file.with_name(f"{file.stem}-plots"),
            engines=engines or None,
            kinds=kinds or None,
            samples=samples,
            rows=rows or None,
            format=format_,
            dpi=dpi,
            # whoever asks for all that applies need not hear what does not
            tell=(lambda text: click.echo(text, err=True)) if kinds else (lambda text: None),
        )
    for path in paths:
        click.echo(path)
