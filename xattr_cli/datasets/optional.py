"""Packages that only one kind of dataset needs, imported when it is opened.

Checking a job file takes a third of a second; importing pandas, scikit-learn and torchvision takes four.
"""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import DataError

__all__ = ["optional"]


def optional(module: str, *, needed_by: str, install: str) -> Any:
    """The imported `module`.

    Arguments:
        module: dotted name.
        needed_by: what an error says needs it, such as "dataset kind 'table'".
        install: what pip has to install, such as "xattr-cli[tables]".

    Raises:
        DataError: it is not installed, or does not load (torchvision beside another torch's build).
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        package = module.partition(".")[0]
        raise DataError(
            f"{needed_by} needs {package}, which cannot be imported ({error}): pip install '{install}'"
        ) from error
