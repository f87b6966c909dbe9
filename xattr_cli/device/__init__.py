"""The only door to the device: a frozen network and a score become scores and gradients of many rows."""

from .activations import layer_activations
from .packing import Packing
from .probing import find_kinks, rows_per_call
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
    "choose_targets",
    "device_name",
    "find_kinks",
    "kinked_operations",
    "layer_activations",
    "predictions",
    "rows_per_call",
    "scores_of",
    "select_device",
    "select_dtype",
]
