"""`xattr-cli explain`: a network and data that are named on the command line, and no job file."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...errors import JobError
from ..run import RunOptions, execute, run_options

if TYPE_CHECKING:
    from ...job.one_liner import OneLiner

__all__ = ["explain"]

_WRITTEN = "# Written by `xattr-cli explain`"
_KINDS = ("images", "table", "text", "arrays", "sequences", "molecules")


def _note_data(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    """Note the data as KIND:PATH, whichever option names them."""
    if value is not None:
        if "data" in ctx.meta:
            raise click.UsageError(f"--{param.name} {value}: the data are named by another option already.", ctx)
        ctx.meta["data"] = value if param.name == "data" else f"{param.name}:{value}"


def _data_options(command: Any) -> Any:
    """The options --data, --images, --table and so on."""
    for kind in reversed(_KINDS):
        text = f"The same, of a dataset of kind {kind}."
        command = click.option(f"--{kind}", callback=_note_data, metavar="PATH", expose_value=False, help=text)(
            command
        )
    return click.option(
        "--data",
        callback=_note_data,
        metavar="[KIND:]PATH",
        expose_value=False,
        help="The samples: .csv or .parquet, .txt or .jsonl, .npz, .npy or .h5, a folder of pictures; or "
        "KIND:NAME, such as builtin:digits (`xattr-cli ls datasets`).",
    )(command)


@click.command()
@click.option(
    "--model",
    required=True,
    metavar="KIND:NAME",
    help="The network: torchvision:resnet18, timm:NAME, my_module:function, a folder of transformers, net.onnx "
    "(`xattr-cli ls models`).",
)
@click.option("--checkpoint", type=click.Path(path_type=Path), metavar="FILE", help="Its weights.")
@_data_options
@click.option("--label", default="", metavar="NAME", help="Column, or array, of the labels.")
@click.option("--class-names", type=click.Path(path_type=Path), metavar="FILE", help="Names of the outputs.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Explain only the first N samples.")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    default=("integrated_gradients",),
    show_default=True,
    metavar="NAME",
    help="Method; may be repeated (`xattr-cli engines`).",
)
@click.option("--baseline", default="", metavar="KIND", help="Of all engines that have one, such as mean or blur.")
@click.option("--rtol", type=float, metavar="R", help="Relative error at which rows of these engines stop.")
@click.option(
    "--target",
    default="predicted",
    show_default=True,
    metavar="T",
    help="predicted, second, label, all, the number or the name of an output, or 'top: 5'.",
)
@click.option("--score", default="auto", show_default=True, metavar="S", help="Such as probability or logit.")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default="attributions.h5",
    show_default=True,
    metavar="FILE",
    help="The result; the job is written beside it, with the ending .yaml (beside the code, if --model or --data "
    "name a module of the working folder).",
)
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Any key of the job, such as compute.device=cpu; may be repeated. Paths start at the "
    "folder of the written job.",
)
@click.option("--print-job", is_flag=True, help="Print the job, and run nothing.")
@run_options
@click.pass_context
def explain(ctx: click.Context, /, print_job: bool, **given: Any) -> None:
    """Explain a network without a job file: the data, the network and what else matters are options.

    The job that this stands for is written beside the result; `xattr-cli run` takes it from there. All that `run`
    does is done: the same line goes on after a kill, and with another engine computes only what is new. Pictures
    for networks of torchvision and timm are prepared as the library prepares them for its own weights.

    \b
    Example:
      xattr-cli explain --model torchvision:resnet18 --checkpoint resnet18.pt --images photos -o photos.h5
      xattr-cli explain --model my_module:network --checkpoint m.pt --table data.csv --label class --engine shapley
    """
    if "data" not in ctx.meta:
        raise click.UsageError("Missing option '--data', or one of --" + ", --".join(_KINDS) + ".", ctx)
    from ...job.config import parse_job
    from ...job.one_liner import OneLiner

    options = RunOptions.taken_from(given)
    line = OneLiner(data=ctx.meta["data"], **given)
    _check_output(line)
    text = f"{_WRITTEN}:\n{_comment(shlex.join(['xattr-cli', *sys.argv[1:]]))}\n\n{line.job_text()}"
    if print_job:
        click.echo(text, nl=False)
        return
    _keep_foreign(line.job_path)
    execute(
        ctx,
        lambda: parse_job(text, folder=line.job_path.resolve().parent),
        options,
        begun=lambda: _write(line.job_path, text, options.quiet),
    )


def _comment(text: str) -> str:
    readable = text.encode("utf-8", "backslashreplace").decode()  # names of files may hold bytes that are no text
    return "\n".join(f"#   {part}" for part in readable.splitlines())


def _check_output(line: OneLiner) -> None:
    """Refuse what is no name of a result."""
    if not line.output.name:
        raise JobError("--output: names no file; give one, such as attributions.h5.")
    if any(text.partition("=")[0].strip() in ("output", "output.path") for text in line.overrides):
        raise JobError("--set output.path: give --output instead; the job is written beside it.")
    if line.output.suffix in (".yaml", ".yml"):
        raise JobError(
            f"--output {line.output}: a result is an HDF5 file, such as {line.output.with_suffix('.h5')}."
        )


def _keep_foreign(path: Path) -> None:
    """Refuse to replace what somebody else has written where the job would go."""
    if path.exists() and not path.read_bytes().startswith(_WRITTEN.encode()):
        raise JobError(
            f"{path}: exists, and is not written by `xattr-cli explain`, which writes its job there. Choose "
            "another --output."
        )


def _write(path: Path, text: str, quiet: bool) -> None:
    """Write the job, unless it is there already."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise JobError(f"{path}: cannot be written: {error.strerror}.") from error
    if not quiet:
        click.echo(f"as a job: {path}", err=True)
