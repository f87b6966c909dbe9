"""Python objects that a job names as `module:callable`, found beside the job file or installed."""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import JobError, nearest

__all__ = ["import_callable", "import_optional", "importable_from", "module_of", "quiet", "transformers"]

_REFERENCE = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*):(?P<attribute>[^\W\d]\w*(\.[^\W\d]\w*)*)")


def import_callable(reference: str, folder: Path | None, key: str) -> Callable[..., Any]:
    """Import what a job names as `module:callable`; modules of `folder` come before installed ones.

    Arguments:
        reference: such as "my_models:build" or "package.module:Class.method".
        folder: folder of the job file; None looks only at what Python finds anyway.
        key: dotted key of the job file, for the error.

    Raises:
        JobError: not of that form; no such module or attribute; the import fails; not callable.
    """
    match = _REFERENCE.fullmatch(reference)
    if match is None or match["module"].endswith(".py"):
        raise JobError(f"{key}: {reference!r} must look like 'module:callable'.{_form_hint(reference)}")
    found: Any = _import_module(match["module"], folder, key)
    for name in match["attribute"].split("."):
        found = _attribute(found, name, reference, key)
    if not callable(found):
        raise JobError(f"{key}: {reference!r} is {type(found).__name__}, which cannot be called.")
    return found  # type: ignore[no-any-return]


def module_of(reference: str) -> str | None:
    """The module that a text names as `module:callable`; None if it does not look like that."""
    match = _REFERENCE.fullmatch(reference)
    return None if match is None else match["module"]


def import_optional(module: str, *, needed_by: str, install: str, error: type[JobError]) -> Any:
    """A package that only some jobs need, imported when one does.

    Arguments:
        module: dotted name.
        needed_by: what an error says needs it, such as "dataset kind 'table'".
        install: what pip has to install, such as "xattr-cli[tables]".
        error: kind of error to raise.

    Raises:
        JobError: of that kind; it is not installed, or does not load (torchvision beside another torch's build).
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as fault:
        package = module.partition(".")[0]
        raise error(
            f"{needed_by} needs {package}, which cannot be imported ({fault}): pip install '{install}'"
        ) from fault


@contextmanager
def importable_from(folder: Path | None) -> Iterator[None]:
    """Let modules of `folder` be imported within the block, as if a script of that folder ran.

    Wrap the call of an imported factory in it too, so that it may import its neighbours late.
    `sys.path` is as before afterwards, whatever happens inside.
    """
    if folder is None:
        yield
        return
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    _look_again(folder)
    try:
        yield
    finally:
        sys.path[:] = before


def _form_hint(reference: str) -> str:
    file, colon, attribute = reference.partition(":")
    if colon and file.endswith(".py"):
        module = file.removesuffix(".py").lstrip("./").replace("/", ".")
        return f" Did you mean '{module}:{attribute}'?"
    module, dot, attribute = reference.rpartition(".")
    return f" Did you mean '{module}:{attribute}'?" if dot and not colon else ""


# --- modules ------------------------------------------------------------------------------------


def _look_again(folder: Path) -> None:
    """Forget what files a folder had; all others keep what is known of them, which takes long to find out."""
    sys.path_importer_cache.pop(str(folder), None)


def _import_module(name: str, folder: Path | None, key: str) -> ModuleType:
    if folder is not None:
        _forget_namesake(name.partition(".")[0], folder, key)
    with importable_from(folder):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{name}.".startswith(f"{error.name}."):
                raise JobError(f"{key}: {_not_found(error.name, folder)}") from error
            raise JobError(f"{key}: importing {name!r} needs a module that is not installed: {error}") from error
        except Exception as error:
            raise JobError(f"{key}: importing {name!r} failed: {type(error).__name__}: {error}") from error


def _forget_namesake(name: str, folder: Path, key: str) -> None:
    """Drop a loaded module `name` that stems from another job's folder, if this folder has its own."""
    _look_again(folder)
    loaded = sys.modules.get(name)
    own = PathFinder.find_spec(name, [str(folder)])
    if loaded is None or own is None or _location(loaded.__spec__) == _location(own):
        return
    is_namespace = own.origin is None
    if is_namespace and loaded.__spec__ is not None and loaded.__spec__.origin is not None:
        return  # as in any import, a folder without __init__.py yields to an installed package
    if _is_on_path(loaded):
        raise JobError(
            f"{key}: {name!r} in {folder} has the name of a module that is installed and in use; rename it."
        )
    for other in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[other]


def _location(spec: ModuleSpec | None) -> Path | None:
    """File of a module, or folder of a namespace package."""
    if spec is None:
        return None
    if spec.origin is not None and spec.has_location:
        return Path(spec.origin).resolve()
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0]).resolve() if folders else None


def _is_on_path(module: ModuleType) -> bool:
    """Whether the module was found through `sys.path` or is built in, not in another job's folder."""
    location = _location(module.__spec__)
    if location is None:
        return True
    is_package = hasattr(module, "__path__") and location.is_file()
    root = (location.parent if is_package else location).parent
    return root in {Path(entry).resolve() for entry in sys.path}


def _not_found(name: str, folder: Path | None) -> str:
    parent, _, last = name.rpartition(".")
    where = "among the installed packages" if folder is None else f"in {folder} or among the installed packages"
    own = [] if folder is None else [str(folder)]
    places = getattr(sys.modules.get(parent), "__path__", None) if parent else [*own, *sys.path]
    match = nearest(last, {module.name for module in pkgutil.iter_modules(places)})
    hint = f" Did you mean {f'{parent}.{match}' if parent else match!r}?" if match else ""
    return f"module {name!r} was not found {where}.{hint}"


def _attribute(owner: Any, name: str, reference: str, key: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        public = [other for other in dir(owner) if not other.startswith("_")]
        match = nearest(name, [other for other in public if callable(getattr(owner, other, None))])
        hint = f" Did you mean {match!r}?" if match else ""
        kind = "module" if isinstance(owner, ModuleType) else type(owner).__name__
        raise JobError(f"{key}: {reference!r}: the {kind} has no attribute {name!r}.{hint}") from None


_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


def transformers(needed_by: str, error: type[JobError]) -> Any:
    """The module `transformers`.

    Arguments:
        needed_by: what needs it, such as "model kind 'transformers'".
        error: kind of error to raise.

    Raises:
        JobError: of that kind; it is not installed, or does not load.
    """
    for name in _OFFLINE:
        os.environ.setdefault(name, "1")
    return import_optional("transformers", needed_by=needed_by, install="xattr-cli[transformers]", error=error)


@contextmanager
def quiet(library: Any) -> Iterator[None]:
    """While open, the library shows no progress bar and logs errors only."""
    logging = library.utils.logging
    level, shows_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows_progress:
            logging.enable_progress_bar()
