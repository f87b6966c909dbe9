"""The documentation as a site: pages written by hand, and every option and command as the code has it.

    python -m scripts.docs.build runs/docs

Sources go to runs/docs/pages, the site to runs/docs/site; whatever mkdocs warns of is an error. Notebooks are
executed, which takes a minute.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import yaml

from scripts.docs.notebook_pages import NOTEBOOKS, executed, page_of, read
from xattr_cli.cli import main as command
from xattr_cli.cli.reference.kinds import KINDS
from xattr_cli.job.config import Compute, Explain, Job, Output
from xattr_cli.job.documentation import document
from xattr_cli.job.stability import Stability
from xattr_cli.registry import REGISTRIES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SECTIONS = {"explain": Explain, "stability": Stability, "compute": Compute, "output": Output}
"""Sections of a job that name no plugin, whether or not a job has them by default."""

INSERTED = re.compile(r"\{\{ (job|readme) (.+?) \}\}")
"""In a page, `{{ job NAME }}` stands for configs/NAME.yaml, `{{ readme TITLE }}` for that section of README."""

PICTURES = ("report.png",)
"""Files of scripts/results that pages show."""


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "runs" / "docs").absolute()
    build(folder)
    print(folder / "site" / "index.html")


def build(folder: Path, *, execute: bool = True) -> None:
    """Write sources and site.

    Arguments:
        folder: replaced.
        execute: run the notebooks; without, their pages show the code alone.

    Raises:
        CalledProcessError: mkdocs fails, or warns.
        CellExecutionError: a cell of a notebook fails.
    """
    pages = folder / "pages"
    shutil.rmtree(folder, ignore_errors=True)
    pages.mkdir(parents=True)
    for name, text in {**written(), **generated()}.items():
        (pages / name).write_text(text, encoding="utf-8")
    for name in PICTURES:
        shutil.copy(ROOT / "scripts" / "results" / name, pages)
    for name, content in notebooks(execute).items():
        (pages / name).write_bytes(content)
    settings = yaml.safe_load((HERE / "mkdocs.yml").read_text(encoding="utf-8"))
    settings |= {"docs_dir": str(pages), "site_dir": str(folder / "site")}
    (folder / "mkdocs.yml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-f", str(folder / "mkdocs.yml")],
        check=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )


def written() -> dict[str, str]:
    """File name -> text of the pages that are written by hand, with what they insert."""
    return {
        path.name: INSERTED.sub(inserted, path.read_text(encoding="utf-8"))
        for path in sorted((HERE / "pages").glob("*.md"))
    }


def notebooks(execute: bool) -> dict[str, bytes]:
    """File name -> content of the pages that notebooks make, of their figures, and of the notebooks."""
    found: dict[str, bytes] = {}
    with TemporaryDirectory() as folder:
        for name, path in NOTEBOOKS.items():
            found |= page_of(name, executed(path, Path(folder)) if execute else read(path))
    return found


def inserted(match: re.Match[str]) -> str:
    """The job, or the section of README, that a page names; what README links to lies beside it, not here."""
    kind, name = match.groups()
    if kind == "job":
        return f"```yaml\n{(ROOT / 'configs' / f'{name}.yaml').read_text(encoding='utf-8').rstrip()}\n```"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0].strip()
    if not section:
        raise SystemExit(f"README.md has no section {name!r}, which a page inserts")
    return re.sub(r"\[([^\]]+)\]\((?!http)[^)]+\)", r"`\1`", section)


def generated() -> dict[str, str]:
    """File name -> text of the pages that the code writes itself."""
    kinds = {f"{kind}.md": "\n".join(kind_page(kind)) for kind in KINDS}
    return {**kinds, "job.md": "\n".join(job_page()), "commands.md": "\n".join(command_page())}


def kind_page(kind: str) -> Iterator[str]:
    """Every plugin of a kind."""
    meaning, _ = KINDS[kind]
    yield from (f"# {kind.capitalize()}", "", f"{meaning[0].upper()}{meaning[1:]}.", "")
    for name, plugin in REGISTRIES[kind].usable(lambda fault: None).items():
        about = document(plugin, with_baselines=False)
        yield from (f"## `{name}`", "", about["documentation"], "", *option_table(about["options"]), "")


def job_page() -> Iterator[str]:
    """Every key of a job that names no plugin."""
    yield from ("# The job", "", "What a job file says, key by key; `xattr-cli job` prints the same.", "")
    options = document(Job)["options"]
    for name, section in SECTIONS.items():
        options[name] |= {"options": document(section)["options"]}
    yield from option_table(options)
    for name, option in options.items():
        if option.get("options"):
            yield from ("", f"## `{name}`", "", option["description"], "", *option_table(option["options"]))


def option_table(options: Mapping[str, Any]) -> Iterator[str]:
    """Options with type, default and meaning."""
    if not options:
        yield "No options."
        return
    yield from ("| option | type | default | meaning |", "|---|---|---|---|")
    for name, option in options.items():
        default = "required" if option["required"] else f"`{yaml_text(option['default'])}`"
        cells = (f"`{name}`", option["type"], default, option["description"])
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def yaml_text(value: Any) -> str:
    """A value in one line of YAML."""
    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("\n...\n").strip()


def command_page() -> Iterator[str]:
    """The help of every command."""
    yield from ("# Commands", "", "What `xattr-cli --help` and `xattr-cli COMMAND --help` print.", "")
    context = click.Context(command, info_name="xattr-cli", **command.context_settings)
    yield from ("```text", command.get_help(context), "```", "")
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        if inner is not None:
            help_text = inner.get_help(click.Context(inner, info_name=name, parent=context))
            yield from (f"## `{name}`", "", "```text", help_text, "```", "")


if __name__ == "__main__":
    main()
