"""Notebooks as pages: scripts whose cells are executed, with what they show."""

from __future__ import annotations

import os
import re
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

__all__ = ["NOTEBOOKS", "executed", "page_of", "read"]

NOTEBOOKS = {path.stem: path for path in sorted((Path(__file__).parent / "notebooks").glob("*.py"))}
"""Name -> script with cells, as editors and jupytext take them."""

STYLE = re.compile(r"<style scoped>.*?</style>\n?", re.DOTALL)
TABLE = re.compile(r'<table border="1" class="dataframe">')
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def read(path: Path) -> nbformat.NotebookNode:
    """The notebook that a script is."""
    return jupytext.read(path, fmt="py:percent")


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with what its cells show, run in a folder by a kernel of its own.

    Raises:
        CellExecutionError: a cell fails.
    """
    notebook = read(path)
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=40"],
    ).execute(env={**os.environ, "PYTHONWARNINGS": "ignore:IProgress not found"})
    return notebook


def page_of(name: str, notebook: nbformat.NotebookNode) -> dict[str, bytes]:
    """File name -> content: a page of Markdown, its figures, and the notebook itself to take home."""
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"unique_key": f"notebook-{name}"})
    link = f"\n[This notebook, executed](notebook-{name}.ipynb), to run and change it.\n"
    text = TABLE.sub("<table>", STYLE.sub("", text))  # as the site draws tables, which scroll where they are wide
    heading, rest = text.lstrip().split("\n", 1)
    return {
        f"notebook-{name}.md": COLOURS.sub("", f"{heading}\n{link}{rest}").encode(),
        f"notebook-{name}.ipynb": nbformat.writes(notebook).encode(),
        **resources["outputs"],
    }
