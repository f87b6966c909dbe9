"""Secants in place of derivatives: gradients of the cells of a path, from one forward and one backward pass."""

from .field import SecantField, secants_of_call
from .mode import SecantMode
from .pairs import Pairing, Pairs
from .probe import SecantProbe, probe_secants

__all__ = [
    "Pairing",
    "Pairs",
    "SecantField",
    "SecantMode",
    "SecantProbe",
    "probe_secants",
    "secants_of_call",
]
