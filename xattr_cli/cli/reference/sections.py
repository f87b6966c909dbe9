"""`xattr-cli job`: what a job file may say."""

from __future__ import annotations

import inspect
import json as json_format
from typing import TYPE_CHECKING, Any

import click

from .kinds import KINDS, page

if TYPE_CHECKING:
    from ...registry import Options

__all__ = ["job"]

_KINDS = {"model": "models", "dataset": "datasets", "score": "scores", "engines": "engines"}
_SECTIONS = ("model", "dataset", "target", "score", "explain", "engines", "stability", "compute", "output")

_TARGETS = """\
Which outputs of the network are explained, a row each:
  predicted        the one of the highest score; the default
  label            that of the sample's label
  all              every one
  {index: 3}       this one; {index: [3, 5]}: these
  {top: 5}         the five of the highest scores"""


@click.command()
@click.argument("section", required=False, type=click.Choice(_SECTIONS))
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def job(section: str | None, as_json: bool) -> None:
    """Document the sections of a job file, or all options of one SECTION.

    Sections: model, dataset, target, score, explain, engines, stability, compute, output.

    \b
    Example:
      xattr-cli job
      xattr-cli job compute
    """
    from ...job.config import Compute, Explain, Job, Output
    from ...job.documentation import document
    from ...job.stability import Stability

    if section in _KINDS:
        kind = _KINDS[section]
        lines = [
            f"{section}: one of the {KINDS[kind][0]}.",
            "",
            f"Kinds (`xattr-cli {kind} NAME` documents one):",
        ]
        members = _summaries(kind)
        lines += [f"  {name}: {text}" for name, text in members.items()]
        click.echo(json_format.dumps({section: members}, indent=2) if as_json else "\n".join(lines))
        return
    if section in ("target", "explain"):
        forms = _TARGETS if section == "target" else inspect.cleandoc(Explain.__doc__ or "")
        text = f"{section}: {Job.model_fields[section].description}\n\n{forms.replace('Attributes:', 'Options:')}"
        click.echo(json_format.dumps({section: text}, indent=2) if as_json else text)
        return
    sections: dict[str | None, type[Options]] = {
        None: Job,
        "stability": Stability,
        "compute": Compute,
        "output": Output,
    }
    about = document(sections[section])
    if section is None:  # the options of a section have a page of their own
        about["options"] = {name: _without_inner(option) for name, option in about["options"].items()}
    name = section or "job"
    click.echo(json_format.dumps({name: about}, indent=2) if as_json else page(name, about))


def _without_inner(option: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in option.items() if key != "options"}


def _summaries(kind: str) -> dict[str, str]:
    from ...job.documentation import summary
    from ...registry import REGISTRIES

    found = REGISTRIES[kind].usable(lambda fault: click.echo(f"Warning: {fault}", err=True))
    return {name: summary(member) for name, member in found.items()}
