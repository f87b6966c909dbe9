"""The documentation as a site: it builds without a warning, and says what the code says."""

from __future__ import annotations

import pytest

from scripts.docs.build import build, generated, written
from xattr_cli.cli import main
from xattr_cli.registry import REGISTRIES


def test_the_site_builds_without_a_warning(tmp_path):
    build(tmp_path / "docs")
    assert "error bar" in (tmp_path / "docs" / "site" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", REGISTRIES)
def test_every_plugin_has_its_options_on_a_page(kind):
    page = generated()[f"{kind}.md"]
    for name in REGISTRIES[kind].names():
        section = page.partition(f"## `{name}`\n")[2].partition("\n## ")[0]
        missing = [
            option for option in REGISTRIES[kind].get(name).model_fields if f"| `{option}` |" not in section
        ]
        assert section and not missing, (name, missing)


def test_every_command_has_its_help_on_a_page():
    page = generated()["commands.md"]
    assert [name for name in main.commands if f"## `{name}`\n" not in page] == []


def test_jobs_that_pages_name_are_those_of_configs():
    pages = written()
    assert "{{ job" not in "".join(pages.values())
    assert "efficientnet_lite_pytorch" in pages["images.md"]
