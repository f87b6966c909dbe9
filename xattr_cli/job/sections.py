"""The sections of a job file that name no plugin: outputs, inputs, where it is computed, where the answer goes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)

from ..errors import suggestion
from ..registry import Options
from .yaml_text import VARIABLE

__all__ = [
    "AUTO",
    "Compute",
    "Explain",
    "ExplainField",
    "JobPath",
    "MemorySize",
    "Output",
    "Reduction",
]


def _from_job_folder(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path.cwd())
    _refuse_impossible(path)
    try:
        return Path(os.path.normpath(Path(folder) / path.expanduser()))
    except RuntimeError as error:
        raise ValueError(f"this machine has no such user: {error}") from error


def _refuse_impossible(path: Path) -> None:
    """Refuse what no file system takes as a name; asking one about it would raise all sorts of errors."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise ValueError(f"holds the character {path.as_posix()[error.start]!r}, which no file name can") from None
    if b"\0" in encoded:
        raise ValueError("holds a NUL character, which no file name can")
    if len(encoded) > LONGEST_PATH or max(map(len, encoded.split(b"/"))) > LONGEST_NAME:
        raise ValueError(f"is too long for a file: a name may have {LONGEST_NAME} bytes, a path {LONGEST_PATH}")


LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Bytes that Linux and macOS allow at most."""


JobPath = Annotated[Path, AfterValidator(_from_job_folder)]
"""A path of the job file: relative ones start at the folder of the job file."""


# --- where it is computed -----------------------------------------------------------------------


DEVICE = r"(auto|cpu|mps|cuda(:[0-9]+)?)"


UNITS = {"": 1, "B": 1}
UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)}
UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", 1)}


def _read_size(value: Any) -> Any:
    if not isinstance(value, str) or value == "auto":
        return value
    if not re.fullmatch(SIZE, value):
        raise ValueError("not an amount of memory, such as 8GiB, 500MB or a number of bytes")
    number = value.rstrip("KMGTkmgtiBb ")
    return round(float(number) * UNITS[value[len(number) :].strip().upper()])


SIZE = r"[0-9]+(\.[0-9]+)? *([KMGTkmgt]?i?[Bb])?"

MemorySize = Annotated[
    Literal["auto"] | Annotated[int, Field(ge=2**20)],
    BeforeValidator(_read_size),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 2**20},
                {"type": "string", "pattern": f"^(auto|{SIZE})$|{VARIABLE}"},
            ]
        }
    ),
]
"""An amount of memory: bytes, or a text with a unit."""


class Compute(Options):
    """Where and how the network is evaluated."""

    device: str = Field(
        default="auto",
        description="auto, cpu, cuda, cuda:N or mps; auto takes the first CUDA device, else Apple's, else the CPU",
        json_schema_extra={"pattern": rf"^{DEVICE}$|{VARIABLE}"},
    )
    precision: Literal["auto", "float32", "float64", "as_stored"] = Field(
        default="auto",
        description="auto keeps that of the checkpoint, at least float32; TF32 stays off; as_stored leaves every "
        "weight as it is, for networks that cast inside, and computes paths and sums in float32",
    )
    memory_format: Literal["auto", "contiguous", "channels_last"] = Field(
        default="auto", description="how images lie in memory; auto times both on the first rows of a long job"
    )
    fold_batchnorm: Literal["auto"] | bool = Field(
        default="auto", description="fold batch normalisations into convolutions; auto times it"
    )
    arithmetic: Literal["auto", "float32", "tf32", "float16", "bfloat16"] = Field(
        default="auto",
        description="of products inside the network; auto takes less than float32 only where it is faster and the "
        "maps of the first rows drift by less than a tenth of rtol",
    )
    compile: Literal["auto"] | bool = Field(
        default="auto", description="torch.compile; auto times it where a job is long enough"
    )
    batch_rows: Literal["auto"] | Annotated[int, Field(ge=1, le=2**20)] = Field(
        default="auto", description="points per device call; auto derives it from the network's activations"
    )
    threads: Literal["auto"] | Annotated[int, Field(ge=1, le=1024)] = Field(
        default="auto", description="CPU threads; auto leaves them as torch finds them"
    )
    memory: MemorySize = Field(
        default="auto",
        description="what may be held at once beside network and data, such as 8GiB: device calls, and the rows "
        "that are worked on together, are as many as fit; auto is 1GiB, and a quarter of a CUDA card",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="of every random draw, together with the sample's index"
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(DEVICE, value):
            meant = "cuda" if value.lower().startswith(("gpu", "nvidia", "rocm")) else None
            raise ValueError("not a device." + suggestion(value, ["auto", "cpu", "cuda", "cuda:0", "mps"], meant))
        return value


# --- where the answer goes ----------------------------------------------------------------------


class Output(Options):
    """Where the result goes and how it is cut into parts."""

    path: JobPath
    compression: Literal["none", "gzip", "lzf"] = Field(
        default="none", description="gzip costs 20-40 times the write speed for about a tenth of the size"
    )
    part_rows: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto", description="rows computed between two durable writes; a kill loses at most these"
    )
    store_inputs: Literal["auto", "all", "none"] | Annotated[int, Field(ge=1)] = Field(
        default="auto",
        description="samples kept in the file for plots: auto keeps all up to 64 MiB, else the first 64",
    )
    keep_parts: bool = Field(default=False, description="leave the parts after the merge")


AUTO = "auto"
"""As the name of an embedding: whichever the network has."""

Reduction = Literal["none", "sum", "l2"]
Name = Annotated[str, Field(min_length=1)]
NameList = Annotated[list[Name], Field(min_length=1)]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[Name, ...], BeforeValidator(_listed, json_schema_input_type=Name | NameList)]

Part = Annotated[int, Field(ge=0)] | Name

_FORMS = ("inputs", "{inputs: [names]}", "{embedding: auto}", "{layer: name}")


class Explain(Options):
    """Which tensors are explained; the rest is context.

    Without `inputs`, `embedding` and `layer`, all inputs of the network are.

    Attributes:
        inputs: names of inputs.
        embedding: names of embedding modules whose output is explained instead of the ids they look up.
        layer: names of modules whose output or input is explained.
        side: of the layers.
        part: which of several tensors that a layer returns or takes: a position or a name, dotted for parts of
            parts, such as 1.0; a list, or `all`, explains several on one path.
        reduce: how a map over embedding, feature or channel axes becomes one number per token, step or pixel;
            None stands for `sum` where an embedding is explained, and `none` elsewhere.
        store: `full` keeps the whole map, with the reduced one beside it; `reduced` keeps that one only.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    inputs: Annotated[tuple[str, ...], Field(min_length=1)] = ()
    embedding: Names = ()
    layer: Names = ()
    side: Literal["input", "output"] = "output"
    part: Part | Annotated[tuple[Part, ...], Field(min_length=1)] | None = None
    reduce: Reduction | None = None
    store: Literal["full", "reduced"] = "full"

    @model_validator(mode="after")
    def _consistent(self) -> Explain:
        if not self.layer and (self.side != "output" or self.part is not None):
            raise ValueError("side and part say which tensor of a layer is explained; name it as layer")
        if self.store == "reduced" and self.reduction == "none":
            raise ValueError("store: reduced needs a reduction: set reduce to sum or l2")
        return self

    @property
    def reduction(self) -> Reduction:
        """How maps are reduced."""
        if self.reduce is not None:
            return self.reduce
        return "sum" if self.embedding else "none"

    @property
    def parts(self) -> tuple[int | str | None, ...]:
        """The parts, one by one."""
        return self.part if isinstance(self.part, tuple) else (self.part,)

    @property
    def inside(self) -> bool:
        """Whether a tensor inside the network is explained."""
        return bool(self.embedding or self.layer)

    @model_serializer
    def _dump(self) -> Any:
        changed = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in self
            if value != type(self).model_fields[name].default
        }
        return changed or "inputs"


def _read_explain(value: Any) -> Explain:
    if isinstance(value, Explain):
        return value
    if value == "inputs":
        return Explain()
    if isinstance(value, dict) and value and [] not in value.values():
        return Explain.model_validate(value)
    hint = f" A layer of that name is {{layer: {value}}}." if isinstance(value, str) else ""
    raise ValueError("not understood." + suggestion(value, _FORMS) + hint)


ExplainField = Annotated[
    Explain, BeforeValidator(_read_explain, json_schema_input_type=Literal["inputs"] | Explain)
]
"""Type of the key `explain` of a job."""
