"""Datasets: named sources that open as sequences of samples; the import registers the built-in kinds."""

from __future__ import annotations

from .arrays import Arrays
from .base import DatasetSource, Samples
from .builtin import Builtin
from .checks import finite_rows, nonfinite_samples
from .columns import ArraySamples, Column
from .images import Images
from .opening import open_dataset
from .python import Python
from .streaming import blocks
from .table import Table
from .vision import Torchvision

__all__ = [
    "ArraySamples",
    "Arrays",
    "Builtin",
    "Column",
    "DatasetSource",
    "Images",
    "Python",
    "Samples",
    "Table",
    "Torchvision",
    "blocks",
    "finite_rows",
    "nonfinite_samples",
    "open_dataset",
]
