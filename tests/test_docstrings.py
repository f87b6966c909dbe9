"""What the docstrings of the package owe their readers: the shapes of the arrays that a function returns."""

from __future__ import annotations

import ast
import doctest
import importlib
import re

import pytest
from test_architecture import MODULES, tree

ARRAYS = {"Tensor", "np.ndarray", "Tensor | None", "np.ndarray | None"}
AXIS = r"(?:\.\.\.|[^(),.;:]+(?:\([^()]*\)[^(),.;:]*)?)"
SHAPE = re.compile(rf"\((?:{AXIS},|{AXIS}(?:, {AXIS})+|\*\w+|\.\.\.|)\)")
"""Such as (n,), (rows, D), (2^d, ...), (*shape) and ()."""


def returned_arrays(module: str) -> list[tuple[str, str]]:
    """Name and docstring of all that is exported and returns an array; what has no docstring inherits one."""
    body = tree(module).body
    exported: set[str] = set()
    for statement in body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            exported = set(ast.literal_eval(statement.value))
    classes = [each for each in body if isinstance(each, ast.ClassDef) and each.name in exported]
    owners = [("", body), *((f"{each.name}.", each.body) for each in classes)]
    return [
        (owner + each.name, text)
        for owner, inner in owners
        for each in inner
        if isinstance(each, ast.FunctionDef) and (owner or each.name in exported) and not each.name.startswith("_")
        if each.returns is not None and ast.unparse(each.returns) in ARRAYS and (text := ast.get_docstring(each))
    ]


@pytest.mark.parametrize("module", sorted(m for m in MODULES if returned_arrays(m)))
def test_what_returns_an_array_says_its_shape(module):
    assert [name for name, text in returned_arrays(module) if not SHAPE.search(" ".join(text.split()))] == []


@pytest.mark.parametrize(
    "shape", ["(n,)", "(rows, D)", "(2^d, ...)", "(*shape)", "()", "(n, len(outputs))", "(d + 1,)"]
)
def test_shapes_are_recognised(shape):
    assert SHAPE.search(f"{shape} of numbers.")


@pytest.mark.parametrize("text", ["(int64)", "(a constant)", "(see the paper)"])
def test_other_words_in_parentheses_are_no_shapes(text):
    assert not SHAPE.search(f"Numbers {text} of rows.")


# --- examples -------------------------------------------------------------------------------------

BASES = {"engines.base", "datasets.base", "models.base", "baselines.base", "registry"}
TOLD = sorted(module for module in MODULES if module.startswith("numerics.") or module in BASES)


def without_example(module: str) -> set[str]:
    """Exported classes and functions without an example; a protocol is shown by what fulfils it."""
    exported = getattr(importlib.import_module(f"xattr_cli.{module}"), "__all__", [])
    return {
        each.name
        for each in tree(module).body
        if isinstance(each, ast.ClassDef | ast.FunctionDef) and each.name in exported
        if not (isinstance(each, ast.ClassDef) and "Protocol" in map(ast.unparse, each.bases))
        if ">>>" not in (ast.get_docstring(each) or "")
    }


@pytest.mark.parametrize("module", TOLD)
def test_examples_are_true(module):
    assert doctest.testmod(importlib.import_module(f"xattr_cli.{module}")).failed == 0


@pytest.mark.parametrize("module", TOLD)
def test_what_is_exported_has_an_example(module):
    assert without_example(module) == set()
