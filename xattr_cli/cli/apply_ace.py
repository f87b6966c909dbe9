"""`xattr-cli apply-ace`: average causal effects of new samples, without the network."""

from __future__ import annotations

from pathlib import Path

import click

from .reading import ReadingCommand

__all__ = ["apply_ace"]


@click.command("apply-ace", cls=ReadingCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("samples", type=click.Path(path_type=Path))
@click.option("--engine", metavar="LABEL", help="Whose effects; needed if FILE holds several studies.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Output to attribute, by name or number; may be repeated; default: all.",
)
@click.option(
    "--units",
    type=click.Choice(["original", "network"]),
    default="original",
    show_default=True,
    help="Of SAMPLES: as the dataset was before the job scaled it, or as the network took it.",
)
@click.option(
    "--to",
    "output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Write there, a table (.csv) or arrays (.h5, with deviations); default: a table to standard output.",
)
@click.option("--overwrite", is_flag=True, help="Replace PATH if it exists.")
def apply_ace(
    file: Path,
    samples: Path,
    engine: str | None,
    targets: tuple[str, ...],
    units: str,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Say what the features of SAMPLES do, from the causal regressors in FILE; neither model nor data are needed.

    SAMPLES is a .csv whose header names the features, in any order, or a .npy, .npz or HDF5 file of arrays
    shaped like the job's. The effect of a feature is that of setting it to the sample's value, relative to
    the mean over its range. Values outside of the range that was studied are named on standard error; they
    are given the effect of the nearest end of the range.

    \b
    Example:
      xattr-cli apply-ace runs/iris/effects.h5 flowers.csv
      xattr-cli apply-ace runs/iris/effects.h5 flowers.npz --target virginica --to effects.h5
    """
    from ..apply.effects import apply_effects, write_csv, write_hdf5
    from ..errors import JobError, suggestion
    from ..store.results.reader import Results

    if output is not None and output.suffix not in (".csv", ".h5"):
        raise JobError(f"--to {output}: unknown type of file.{suggestion(output.suffix, ['.csv', '.h5'])}")
    if output is not None and output.exists() and not overwrite:
        raise JobError(f"--to {output}: exists. Choose another name, or add --overwrite.")
    with Results.open(file) as results:
        applied = apply_effects(
            results, samples, engine=engine, targets=targets, original_units=units == "original"
        )
    if output is not None and output.suffix == ".h5":
        write_hdf5(applied, output)
    else:
        write_csv(applied, output)
    for name, count in applied.outside.items():
        click.echo(f"{name}: {count} samples lie outside of what was studied", err=True)
