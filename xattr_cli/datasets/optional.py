"""Packages that only one kind of dataset needs, imported when it is opened.

Checking a job file takes a third of a second; importing pandas, scikit-learn and torchvision takes four.
"""

from __future__ import annotations

from typing import Any

from ..errors import DataError
from ..importing import import_optional

__all__ = ["optional"]


def optional(module: str, *, needed_by: str, install: str) -> Any:
    """The imported `module`; see `importing.import_optional`.

    Raises:
        DataError: it is not installed, or does not load.
    """
    return import_optional(module, needed_by=needed_by, install=install, error=DataError)
