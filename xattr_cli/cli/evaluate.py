"""`xattr-cli evaluate`: how faithful the maps of a result file are."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import Any

import click

from ..errors import JobError
from .job import read_job
from .reading import EvaluatingCommand

__all__ = ["evaluate"]


@click.command(cls=EvaluatingCommand)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    required=True,
    metavar="METRIC",
    help="Name, or YAML with options: {kind: road, noise: 0.1}; `ls metrics` lists them; may be repeated.",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="LABEL",
    help="Engine to evaluate, or LABEL/VALUE for another index that it left; may be repeated; default: all.",
)
@click.option("--averages", is_flag=True, help="Also evaluate each engine's mean |map|, as an index for all rows.")
@click.option(
    "--importance",
    "importances",
    multiple=True,
    metavar="NAME=NPY",
    help="Also evaluate an index made elsewhere: a .npy of shape (features,) or (features, outputs).",
)
@click.option(
    "--perturbation",
    default="zero",
    show_default=True,
    metavar="KIND",
    help="What takes the place of a replaced feature: a kind of baseline, or YAML with its options; samples "
    "takes turns with other samples.",
)
@click.option(
    "--draws",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="How many samples take turns for each row.",
)
@click.option(
    "--unit",
    default="auto",
    show_default=True,
    metavar="UNIT",
    help="What is replaced as one: feature, pixel (all its channels), step or token (its embedding); auto: pixels "
    "in images, tokens in texts.",
)
@click.option(
    "--masks",
    metavar="FILE|COLUMN",
    help="Where the objects are, for localisation: .npz of masks or boxes, .csv of boxes, or a column of the "
    "dataset.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Points of a curve, default 32; with fewer units, one per unit.",
)
@click.option(
    "--n",
    "sizes",
    type=click.IntRange(min=1),
    multiple=True,
    help="Units per subset of sensitivity_n and its like; may be repeated; default: a quarter of them.",
)
@click.option(
    "--subsets",
    type=click.IntRange(min=3),
    help="Subsets per row of sensitivity_n and its like; default: 100.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Evaluate only N rows, spread evenly over FILE.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of every random draw; default: that of the job.")
@click.option("--job", metavar="JOB", help="Job file that FILE was computed by; it opens the model and the data.")
@click.option(
    "--trust",
    is_flag=True,
    help="Without --job: import and run what the job in FILE names; that is listed first.",
)
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a key of the job, such as compute.device=cpu; may be repeated.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="With --trust: where relative paths of --set start, and modules are looked for; default: here.",
)
@click.option("--changed", is_flag=True, help="Go on although model or data have changed since FILE was computed.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Write the numbers of every row there.",
)
@click.option("--quiet", is_flag=True, help="No progress; errors only.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def evaluate(
    file: Path,
    metrics: tuple[str, ...],
    engines: tuple[str, ...],
    importances: tuple[str, ...],
    perturbation: str,
    seed: int | None,
    job: str | None,
    trust: bool,
    overrides: tuple[str, ...],
    folder: Path | None,
    output: Path | None,
    quiet: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Say how good the maps and indices in FILE, the result of a run, are by the metrics of the field.

    Faithfulness: features are replaced in the order in which an engine ranks them, or in random subsets, and
    the score is watched. Robustness, randomisation and input_invariance make the maps again, by the engines of
    JOB. Localisation asks where the objects are (--masks). Complexity and axioms look at the maps alone, or at
    what they add up to. "(random)" is a random map; standard errors are over samples, differences on the same
    rows. FILE is data: the model and the data are opened by JOB, which it must have been computed by.

    \b
    Example:
      xattr-cli evaluate runs/digits/attributions.h5 --job configs/digits.yaml --metric pgu --metric deletion
      xattr-cli evaluate results.h5 --trust --metric pgi --perturbation samples --json
      xattr-cli evaluate results.h5 --trust --metric '{kind: max_sensitivity, radius: 0.1}' --metric mprt
    """
    from ..evaluation import EvaluationOptions, evaluate_file, read_importance, read_metric, read_perturbation
    from ..evaluation.outcome import evaluation_summary, write_rows
    from ..evaluation.table import evaluation_text
    from .progress import report_progress

    if output is not None and not output.parent.is_dir():
        raise JobError(f"--output {output}: the folder {output.parent} does not exist.")
    options = EvaluationOptions(
        metrics=tuple(map(read_metric, metrics)),
        engines=engines or None,
        importances=dict(map(read_importance, importances)),
        perturbation=read_perturbation(perturbation, folder or Path.cwd()),
        **asked,
    )
    overrides = (*overrides, *(() if seed is None else (f"compute.seed={seed}",)))
    with report_progress(quiet) as progress:
        found = evaluate_file(
            file,
            options,
            None if job is None else read_job(job, overrides),
            trust=trust,
            overrides=overrides,
            folder=folder,
            tell=_to_stderr,
            foretell=_nowhere if quiet else _to_stderr,
            progress=progress,
        )
    if output is not None:
        write_rows(found, output)
    _answer(evaluation_summary(found) if as_json else evaluation_text(found))


def _answer(found: dict[str, Any] | str) -> None:
    click.echo(found if isinstance(found, str) else json_format.dumps(found, allow_nan=False))


def _to_stderr(text: str) -> None:
    click.echo(text, err=True)


def _nowhere(text: str) -> None:
    pass
