"""Where networks come from: a checkpoint and code, or a program, becomes a module that is lent out frozen."""

from .base import LoadedModel, ModelSource
from .built import BuiltModel
from .exported import ExportedModel
from .frozen import frozen
from .python import PythonModel
from .torchscript import TorchScriptModel
from .torchvision import TorchvisionModel

__all__ = [
    "BuiltModel",
    "ExportedModel",
    "LoadedModel",
    "ModelSource",
    "PythonModel",
    "TorchScriptModel",
    "TorchvisionModel",
    "frozen",
]
