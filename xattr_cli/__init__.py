"""Explain trained networks in batch: attributions with error bars, from a YAML job to an HDF5 file.

Example:
    >>> import xattr_cli
    >>> report = xattr_cli.run("configs/digits.yaml")  # doctest: +SKIP
    >>> with xattr_cli.open_results(report.output) as results:  # doctest: +SKIP
    ...     maps = results.engine("integrated_gradients").attribution(slice(0, 8))
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .job.config import load_job
    from .notebook.explain import explain
    from .notebook.jobs import plan, run
    from .notebook.view import open_results

__version__ = "0.1.0"
__all__ = ["__version__", "explain", "load_job", "open_results", "plan", "run"]

_HOMES = {
    "explain": ".notebook.explain",
    "load_job": ".job.config",
    "open_results": ".notebook.view",
    "plan": ".notebook.jobs",
    "run": ".notebook.jobs",
}


def __getattr__(name: str) -> Any:
    """A public function, imported when it is first asked for: the import of the package alone takes no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
