"""Manual pages: one for every command, with its options, as `man` shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from xattr_cli.cli import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("man")
    # in a process of its own: what is written down about commands is changed for it
    subprocess.run(
        [sys.executable, "-m", "scripts.docs.man", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    return folder


def test_every_command_has_a_page(folder):
    expected = {"xattr-cli.1", *(f"xattr-cli-{name}.1" for name in main.commands)}
    assert {path.name for path in folder.iterdir()} == expected


@pytest.mark.parametrize("name", main.commands)
def test_a_page_has_the_options_and_the_first_sentence_of_its_command(name, folder):
    page = (folder / f"xattr-cli-{name}.1").read_text().replace("\\-", "-")
    command = main.commands[name]
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.opts[0] in page
    (sentence,) = re.findall(rf"^xattr-cli-{name} - (.*)$", page, re.MULTILINE)
    assert not sentence.endswith("...")


def test_man_shows_a_page(folder):
    if shutil.which("man") is None:
        pytest.skip("man is not installed")
    done = subprocess.run(
        ["man", "--warnings", "-l", str(folder / "xattr-cli-run.1")],
        env={"MANPAGER": "cat", "MANWIDTH": "80", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--accept-changes" in done.stdout and done.stderr == ""
