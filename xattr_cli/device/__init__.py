"""The only door to the device: a frozen network and a score become scores and gradients of many rows."""

from .activations import (
    find_embedding,
    find_layer,
    find_nested,
    layer_activations,
    settled_sites,
    site_activations,
)
from .autotune.executions import Measured, Pinned, bookkeeping, chosen_text, measure_executions, preferred
from .autotune.workload import Workload
from .curvature.smoothness import kinked_operations
from .execution.heap import freed_memory_kept
from .execution.runner import Execution, Runner
from .packing import Packing
from .padding import real_key
from .patching import HookPoint
from .probing import bears_shortening, find_kinks, row_activations, rows_per_call
from .scorer import BlockField, Rows, Scorer
from .scores import Score, choose_targets, predictions
from .select import device_name, select_device, select_dtype, stored_dtype
from .transfer import page_locked

__all__ = [
    "BlockField",
    "Execution",
    "HookPoint",
    "Measured",
    "Packing",
    "Pinned",
    "Rows",
    "Runner",
    "Score",
    "Scorer",
    "Workload",
    "bears_shortening",
    "bookkeeping",
    "choose_targets",
    "chosen_text",
    "device_name",
    "find_embedding",
    "find_kinks",
    "find_layer",
    "find_nested",
    "freed_memory_kept",
    "kinked_operations",
    "layer_activations",
    "measure_executions",
    "page_locked",
    "predictions",
    "preferred",
    "real_key",
    "row_activations",
    "rows_per_call",
    "select_device",
    "select_dtype",
    "settled_sites",
    "site_activations",
    "stored_dtype",
]
