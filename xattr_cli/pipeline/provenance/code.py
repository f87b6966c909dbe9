"""The code behind a job: the sources of what the user wrote, and the versions of what is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from torch import nn

from ... import __version__
from ...fingerprint import hash_file, hash_files
from ...importing import module_of
from ...job.config import Job

__all__ = ["code_of", "named_modules"]

PACKAGE = "xattr_cli"
_PACKAGES = frozenset({"site-packages", "dist-packages"})
_NUMBERS_APART = ("cli", "reports", "evaluation", "apply")
"""Rooms of this package that no number of a result depends on."""

_NUMERICAL = (
    "numpy", "onnx", "onnx2torch", "pandas", "PIL", "pyarrow", "rdkit", "scipy", "sklearn", "timm", "tokenizers",
    "torch", "torchvision", "transformers", "zuko",
)  # fmt: skip
"""Packages that numbers may depend on, if a job has them loaded."""


def code_of(job: Job, network: nn.Module) -> dict[str, dict[str, str]]:
    """What an open job is computed by.

    Followed from the plugins, the `module:callable`s and the layers of the network, through every import: modules
    that are not installed, but lie beside the job or on PYTHONPATH, are told by their sources.

    Returns:
        "modules": name → SHA-256 of its file; "versions": package → version, with the hash of its sources for
        this one, which may be installed from a working copy.
    """
    roots = {*named_modules(job), *(type(plugin).__module__ for plugin in _plugins(job))}
    roots |= {type(layer).__module__ for layer in network.modules()}
    modules, packages = _followed(roots)
    loaded = {name for name in _NUMERICAL if name in sys.modules}
    versions = {name: version for name in sorted({*packages, *loaded}) if (version := _version(name))}
    return {"modules": modules, "versions": {PACKAGE: f"{__version__} {_own_sources()[:12]}", **versions}}


def named_modules(job: Job) -> list[str]:
    """Modules that a job names as `module:callable`, anywhere, and that are loaded."""
    found = (module_of(text) for text in _texts(job.model_dump(mode="json")))
    return sorted({name for name in found if name in sys.modules})


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


def _plugins(options: Any) -> Iterator[BaseModel]:
    """A model of pydantic, and all that stand inside of it."""
    if isinstance(options, BaseModel):
        yield options
        options = dict(options)
    if isinstance(options, dict | list | tuple):
        for inner in options.values() if isinstance(options, dict) else options:
            yield from _plugins(inner)


@cache
def _own_sources() -> str:
    root = Path(__file__).parents[2]
    paths = (path for path in sorted(root.rglob("*.py")) if path.relative_to(root).parts[0] not in _NUMBERS_APART)
    return hash_files(root, list(paths)).digest


def _version(package: str) -> str:
    """The version of a package: what it says itself, else what it was installed as; empty if nobody knows."""
    own = getattr(sys.modules.get(package), "__dict__", {}).get("__version__")  # some warn of the attribute
    if isinstance(own, str):
        return own
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


# --- from import to import ------------------------------------------------------------------------


def _followed(roots: Iterable[str]) -> tuple[dict[str, str], set[str]]:
    """Hashes of the modules that are somebody's own, and the installed packages that they import directly."""
    modules: dict[str, str] = {}
    packages: set[str] = set()
    ahead = {name: _spec(name) for name in roots}
    while ahead:
        name, spec = ahead.popitem()
        origin = None if spec is None or not spec.has_location else Path(spec.origin or "")
        package = name.partition(".")[0]
        if name in modules or package in (PACKAGE, *sys.stdlib_module_names) or origin is None:
            continue
        if _is_installed(origin):
            packages.add(package)
        elif origin.is_file():
            modules[name] = hash_file(origin).digest
            ahead |= {each: _spec(each, _top(name, origin)) for each in _imports(name, origin)}
    return dict(sorted(modules.items())), packages


def _top(name: str, origin: Path) -> Path:
    """The folder in which the package of a module lies."""
    return origin.parents[name.count(".") + (origin.stem == "__init__")]


def _spec(name: str, beside: Path | None = None) -> ModuleSpec | None:
    """Where a module is, without importing anything; one that is not loaded yet is looked for beside another."""
    loaded = sys.modules.get(name)
    if loaded is not None:
        file = getattr(loaded, "__file__", None)
        spec = getattr(loaded, "__spec__", None)
        if spec is None and file is not None:  # the script that runs
            return spec_from_file_location(name, file)
        return spec
    parent = name.rpartition(".")[0]
    places = getattr(sys.modules.get(parent), "__path__", None) if parent else beside and [str(beside)]
    return PathFinder.find_spec(name, list(places)) if places else None


def _imports(name: str, origin: Path) -> Iterator[str]:
    """Names of the modules that a module may import, anywhere in it."""
    try:
        tree = ast.parse(origin.read_bytes())
    except (SyntaxError, ValueError):  # compiled
        return
    parts = name.split(".")[: None if origin.stem == "__init__" else -1]
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        if isinstance(node, ast.ImportFrom):
            above = parts[: len(parts) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from _with_parents(base)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """All statements, however deep; expressions, which are ten times as many, hold none."""
    ahead = [tree]
    while ahead:
        node = ahead.pop()
        yield node
        for name in _BLOCKS:
            ahead.extend(getattr(node, name, ()))


_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[: end + 1]) for end in range(len(parts)))


@cache
def _installed_places() -> tuple[Path, ...]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    places = {*map(sysconfig.get_path, names), *site.getsitepackages(), site.getusersitepackages()}
    return tuple(Path(place).resolve() for place in places)


def _is_installed(origin: Path) -> bool:
    # packages of another environment, which PYTHONPATH or a .pth file adds, are not the user's own code either
    place = origin.resolve()
    return not _PACKAGES.isdisjoint(place.parts) or any(each in place.parents for each in _installed_places())
