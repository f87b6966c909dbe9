"""Where networks come from: a checkpoint and code, or a program, becomes a module that is lent out frozen."""

from .base import LoadedModel, ModelSource
from .built import BuiltModel
from .exported import ExportedModel
from .frozen import frozen
from .huggingface.transformers import TransformersModel
from .onnx import OnnxModel
from .python import PythonModel
from .repairs import Repairs, find_repairs
from .timm import TimmModel
from .torchscript import TorchScriptModel
from .torchvision import TorchvisionModel

__all__ = [
    "BuiltModel",
    "ExportedModel",
    "LoadedModel",
    "ModelSource",
    "OnnxModel",
    "PythonModel",
    "Repairs",
    "TimmModel",
    "TorchScriptModel",
    "TorchvisionModel",
    "TransformersModel",
    "find_repairs",
    "frozen",
]
