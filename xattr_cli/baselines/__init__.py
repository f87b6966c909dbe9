"""Baselines: what a sample is compared with; the import registers the built-in kinds."""

from __future__ import annotations

from .background import DatasetBackground
from .base import Baseline, BoundBaseline
from .blur import Blur
from .constant import Constant, Zero
from .file import BaselineFile
from .mean import Mean
from .noise import Gaussian, Uniform
from .propagated import Propagated
from .several import Several
from .token import Token

__all__ = [
    "Baseline",
    "BaselineFile",
    "Blur",
    "BoundBaseline",
    "Constant",
    "DatasetBackground",
    "Gaussian",
    "Mean",
    "Propagated",
    "Several",
    "Token",
    "Uniform",
    "Zero",
]
