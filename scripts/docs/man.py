"""Manual pages of all commands, from their help.

    python -m scripts.docs.man runs/man && man -l runs/man/xattr-cli-run.1

`MANPATH` wants them in a folder man1: `python -m scripts.docs.man ~/.local/share/man/man1`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click_man.core import write_man_pages

from xattr_cli import __version__
from xattr_cli.cli import main as command


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/man")
    for path in write(folder):
        print(path)


def write(folder: Path) -> list[Path]:
    """A page per command; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in commands(command):
        # click cuts the first sentence to 45 characters; the line NAME of a page, and `apropos`, have room for it
        each.short_help = each.get_short_help_str(limit=1000).rstrip(".")
    write_man_pages("xattr-cli", command, version=__version__, target_dir=str(folder))
    return sorted(folder.glob("xattr-cli*.1"))


def commands(group: click.Command) -> Iterator[click.Command]:
    """The group and all commands below it."""
    yield group
    for each in getattr(group, "commands", {}).values():
        yield from commands(each)


if __name__ == "__main__":
    main()
