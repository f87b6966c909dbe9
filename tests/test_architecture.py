"""The direction of the imports, and the size of what is written: read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import xattr_cli
import xattr_cli.engines

ROOT = Path(xattr_cli.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
MOST_FILES_OF_A_FOLDER = 16
MOST_ROOMS = 25
LOOSE = {
    "__init__",
    "__main__",
    "errors",
    "fingerprint",
    "importing",
    "plugins",
    "randomness",
    "registry",
    "samples",
}

LANGUAGE = {"errors", "untrusted", "registry", "importing", "samples", "randomness", "fingerprint"}
PARTS = {"models", "datasets", "baselines", "numerics", "device", "engines", "store"}
ROOMS = {
    "errors": set(),
    "untrusted": {"errors"},
    "importing": {"errors"},
    "registry": {"errors"},
    "samples": set(),
    "randomness": set(),
    "fingerprint": {"errors"},
    "job": LANGUAGE,
    "numerics": LANGUAGE,
    "store": {"errors", "untrusted", "samples"},
    "models": {*LANGUAGE, "job"},
    "datasets": {*LANGUAGE, "job"},
    "causal": {*LANGUAGE, "job"},
    "baselines": {*LANGUAGE, "job", "datasets"},
    "device": {*LANGUAGE, "numerics", "models"},
    "engines": {*LANGUAGE, "job", "numerics", "device", "causal"},
    "export": {*LANGUAGE, "store"},
    "metrics": {*LANGUAGE, "numerics"},
    "reports": {*LANGUAGE, "store", "export"},
    "plugins": {
        *LANGUAGE, "job", "models", "datasets", "baselines", "device", "engines", "reports", "export", "metrics",
    },
    "apply": {"errors", "untrusted", "numerics", "datasets", "store"},
    "pipeline": {*LANGUAGE, "job", *PARTS},
    "evaluation": {*LANGUAGE, "job", *PARTS, "metrics", "pipeline"},
    "notebook": {*LANGUAGE, "job", "models", "datasets", "baselines", "store", "reports", "export", "pipeline"},
    "cli": {*LANGUAGE, "job", *PARTS, "reports", "export", "apply", "pipeline", "evaluation"},
}  # fmt: skip
"""Room → the rooms that it may import, all of which stand above it."""

NO_TORCH = {*LANGUAGE, "job", "datasets", "baselines", "store", "reports", "export", "metrics", "plugins", "cli"}


def module_of(path: Path) -> str:
    """Dotted name below the package, such as `engines.block`; empty for the package itself."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room_of(module: str) -> str:
    return module.partition(".")[0]


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str, when_typing: bool = True) -> list[tuple[ast.stmt, str]]:
    """Import statements and the absolute dotted name of each thing that they import."""
    found = []
    for statement in statements(tree(module), when_typing):
        if isinstance(statement, ast.Import):
            found += [(statement, alias.name) for alias in statement.names]
        if isinstance(statement, ast.ImportFrom):
            origin = absolute(module, statement)
            found += [(statement, f"{origin}.{alias.name}") for alias in statement.names]
    return found


def statements(node: ast.AST, when_typing: bool) -> Iterator[ast.stmt]:
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.stmt | ast.ExceptHandler):
            is_for_typing = isinstance(inner, ast.If) and ast.unparse(inner.test) == "TYPE_CHECKING"
            if when_typing or not is_for_typing:
                yield inner
                yield from statements(inner, when_typing)


def absolute(module: str, statement: ast.ImportFrom) -> str:
    if statement.level == 0:
        return statement.module or ""
    is_package = MODULES[module].name == "__init__.py"
    parts = ["xattr_cli", *(module.split(".") if module else [])]
    parts = parts[: len(parts) - statement.level + is_package]
    return ".".join([*parts, *([statement.module] if statement.module else [])])


@cache
def inner_imports(module: str, when_typing: bool = True) -> set[str]:
    """Modules of the package that a module names in its imports."""
    return {module_named(name) for _, name in imports(module, when_typing)} - {module, ""}


def module_named(name: str) -> str:
    """The module of the package that an imported name is in; empty for what is from elsewhere."""
    target = name.removeprefix("xattr_cli.") if name.startswith("xattr_cli.") else ""
    while target and target not in MODULES:
        target = target.rpartition(".")[0]
    return target


@cache
def imported_at_once(module: str) -> set[str]:
    """Modules of the package that are imported with a module, not later in its functions."""
    late = {id(s) for function in functions(module) for s in statements(function, when_typing=True)}
    names = [name for statement, name in imports(module, False) if id(statement) not in late]
    return {target for name in names if (target := module_named(name))} - {module}


def outer_imports(module: str) -> set[str]:
    """Top-level packages that a module imports when it runs."""
    return {name.partition(".")[0] for _, name in imports(module, False)}


# --- direction ----------------------------------------------------------------------------------


def test_every_room_is_on_the_map_and_may_import_only_what_stands_above_it():
    assert {room_of(module) for module in MODULES} - {"", "__main__"} == set(ROOMS)
    assert len(ROOMS) <= MOST_ROOMS
    above: set[str] = set()
    for room, allowed in ROOMS.items():
        assert allowed <= above, room
        above.add(room)


@pytest.mark.parametrize("module", [module for module in MODULES if module not in ("", "__main__")])
def test_imports_go_one_way(module):
    rooms = {room_of(target) for target in inner_imports(module)}
    assert rooms - {room_of(module)} <= ROOMS[room_of(module)]


def test_the_package_itself_imports_nothing_when_it_runs():
    """What it offers for Python is named for type checkers, and imported when it is asked for."""
    assert inner_imports("", when_typing=False) == set()
    assert inner_imports("__main__") == {"cli"}


def test_there_is_no_import_cycle_not_even_of_types():
    graph = {module: inner_imports(module) for module in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_modules_are_named_relative_to_each_other():
    absolute_names = [
        (module, name)
        for module in MODULES
        for statement, name in imports(module)
        if name.startswith("xattr_cli") and not getattr(statement, "level", 0)
    ]
    assert absolute_names == []


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) in NO_TORCH])
def test_what_lists_documents_or_reads_files_imports_no_torch(module):
    assert not outer_imports(module) & {"torch", "torchvision"}


@pytest.mark.parametrize(
    "home",
    [
        "engines",
        "datasets",
        "baselines",
        "reports.gallery",
        "reports.html.report",
        "store",
        "export",
        "job.schema",
        "metrics",
        "plugins",
    ],
)
def test_nor_does_anything_that_it_imports(home):
    with_torch = {module for module in reached(home) if outer_imports(module) & {"torch", "torchvision"}}
    assert with_torch == set()


def reached(module: str) -> set[str]:
    """The module and all that are imported with it, packages on the way included."""
    found, ahead = set(), {module}
    while ahead:
        here = ahead.pop()
        found.add(here)
        at_once = {*imported_at_once(here), here.rpartition(".")[0]}
        ahead |= at_once & MODULES.keys() - found
    return found


ENGINES = {
    cls.__module__.removeprefix("xattr_cli.") for cls in vars(xattr_cli.engines).values() if isinstance(cls, type)
}
"""Registered engines: listing them takes no torch, since they import their computation when asked for it."""
ASKED = {"explain", "study", "check", "expected_evaluations"}
"""The methods of an engine that compute."""


@pytest.mark.parametrize("module", [module for module in MODULES if room_of(module) != "cli"])
def test_nothing_is_imported_inside_a_function(module):
    late = [
        ast.unparse(statement)
        for function in functions(module)
        if not (module in ENGINES and function.name in ASKED)
        for statement in statements(function, when_typing=True)
        if isinstance(statement, ast.Import | ast.ImportFrom)
    ]
    assert late == []


@cache
def functions(module: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree(module)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


# --- form ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_a_module_opens_with_its_concept_and_says_what_it_offers(module):
    body = tree(module).body
    docstring = ast.get_docstring(tree(module))
    assert docstring and docstring.splitlines()[0].endswith((".", "?"))
    if len(body) > 1 and module not in ("", "__main__"):
        offered = offers(module)
        assert offered is not None
        assert set(offered) <= defined(module)


def offers(module: str) -> list[str] | None:
    for statement in tree(module).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return ast.literal_eval(statement.value)
    return None


def defined(module: str) -> set[str]:
    names: set[str] = set()
    for statement in ast.walk(tree(module)):
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            names.add(statement.name)
        if isinstance(statement, ast.Name) and isinstance(statement.ctx, ast.Store):
            names.add(statement.id)
        if isinstance(statement, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in statement.names}
    return names


def test_what_a_module_imports_is_offered_there():
    for module in MODULES:
        for statement, name in imports(module):
            origin, _, imported = name.removeprefix("xattr_cli.").rpartition(".")
            if isinstance(statement, ast.ImportFrom) and origin in MODULES and imported != "__version__":
                is_module = f"{origin}.{imported}" in MODULES
                assert is_module or imported in (offers(origin) or ()), f"{module} imports {name}"


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_are_small(module):
    assert len(MODULES[module].read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    for function in functions(module):
        assert function.end_lineno - function.lineno < MOST_LINES_OF_A_FUNCTION, function.name


def test_folders_are_small_and_nothing_new_lies_loose_in_the_hall():
    folders = {path for path in ROOT.rglob("*") if path.is_dir() and path.name != "__pycache__"} | {ROOT}
    assert {folder.name for folder in folders if len([*folder.glob("*.py")]) > MOST_FILES_OF_A_FOLDER} == set()
    assert {path.stem for path in ROOT.glob("*.py")} <= LOOSE


@pytest.mark.parametrize("module", MODULES)
def test_every_argument_is_typed(module):
    for function in functions(module):
        assert function.returns is not None, function.name
        takes = function.args
        given = [*takes.posonlyargs, *takes.args, *takes.kwonlyargs, takes.vararg, takes.kwarg]
        untyped = [each.arg for each in given if each is not None and each.annotation is None]
        assert set(untyped) <= {"self", "cls"}, function.name


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_asserted_of_what_a_user_gives(module):
    assert not [node for node in ast.walk(tree(module)) if isinstance(node, ast.Assert)]


def test_names_of_modules_do_not_hide_a_common_one():
    assert not {module.rpartition(".")[2] for module in MODULES} & {"util", "utils", "helpers", "common", "misc"}


FOREIGN = {
    "device.secant.choices": {"axes", "pairs", "plane", "shape"},  # the context of a function of torch's autograd,
    "device.secant.elementwise": {"pairs", "rule"},  # in which it keeps what its backward pass needs
    "device.secant.normalising": {"dim", "pairs"},
    "device.secant.products": {"function", "pairs"},
    "device.execution.rounding": {"allow_tf32", "benchmark", "fp32_precision"},  # torch's own switches
    "device.perturbation": {"data"},  # of the network's weights, put back as it was
    "engines.ace.rollout": {"state"},  # numpy's generator, put back to where it was
    "untrusted.yaml_text": {"yaml_implicit_resolvers"},  # of subclasses of PyYAML's loaders
    "models.exported": {"args", "disabled", "kwargs"},  # nodes of a graph of torch.fx, a logger of torch
    "models.frozen": {"data", "grad", "training"},  # the user's module, lent and given back as it was
    "models.repairs": {"enabled"},  # switches of cuDNN and MKL-DNN
    "reports.rows.molecule_drawing": {
        "bondLineWidth", "fillHighlights", "fixedBondLength", "highlightBondWidthMultiplier", "highlightRadius",
        "atomHighlightsAreCircles", "maxFontSize", "minFontSize", "padding",
    },  # RDKit's options of a drawing
    "store.columns": {"label"},  # HDF5's label of an axis
}  # fmt: skip
"""Attributes of other libraries' objects that have to be assigned."""


@pytest.mark.parametrize("module", MODULES)
def test_no_module_assigns_to_another_objects_attributes(module):
    assigned = {target.attr for target in assigned_attributes(tree(module))}
    assert assigned <= FOREIGN.get(module, set())


def assigned_attributes(node: ast.AST) -> Iterator[ast.Attribute]:
    """Attributes that are assigned of anything but `self`, `cls`, and torch's context of an autograd function."""
    for inner in ast.walk(node):
        targets = inner.targets if isinstance(inner, ast.Assign) else []
        targets = [inner.target] if isinstance(inner, ast.AugAssign | ast.AnnAssign) else targets
        for target in targets:
            for each in target.elts if isinstance(target, ast.Tuple | ast.List) else [target]:
                if isinstance(each, ast.Attribute) and ast.unparse(each.value) not in ("self", "cls", "ctx"):
                    yield each
