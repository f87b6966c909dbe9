"""The only door to the device: a frozen network and a score become scores and gradients of many rows."""

from .packing import Packing, activation_bytes, automatic_rows
from .scorer import BlockField, Rows, Scorer
from .scores import Score, choose_targets, predictions, scores_of
from .select import device_name, select_device, select_dtype
from .smoothness import kinked_operations

__all__ = [
    "BlockField",
    "Packing",
    "Rows",
    "Score",
    "Scorer",
    "activation_bytes",
    "automatic_rows",
    "choose_targets",
    "device_name",
    "kinked_operations",
    "predictions",
    "scores_of",
    "select_device",
    "select_dtype",
]
