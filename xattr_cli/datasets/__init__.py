"""Datasets: named sources that open as sequences of samples; the import registers the built-in kinds."""

from __future__ import annotations

from .arrays import Arrays
from .base import DatasetSource, Samples, Vocabulary
from .builtin import Builtin
from .columns import ArraySamples, Column
from .images.images import Images
from .images.torchvision import Torchvision
from .molecules.molecules import Molecules
from .opening import blocks, finite_rows, open_dataset
from .padded import PaddedSamples
from .python import Python
from .sequences import Sequences
from .table import Table
from .text.prompts import PromptDataset
from .text.text import Text

__all__ = [
    "ArraySamples",
    "Arrays",
    "Builtin",
    "Column",
    "DatasetSource",
    "Images",
    "Molecules",
    "PaddedSamples",
    "PromptDataset",
    "Python",
    "Samples",
    "Sequences",
    "Table",
    "Text",
    "Torchvision",
    "Vocabulary",
    "blocks",
    "finite_rows",
    "open_dataset",
]
