"""The job file: pydantic models that are the one source of validation, defaults, documentation and schema."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    InstanceOf,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from .complaints import describe
from .errors import JobError, suggestion
from .jobtext import VARIABLE, plain_values, read_job_text, write_values
from .registry import BASELINES, DATASETS, ENGINES, MODELS, Options, Plugin, Registry

__all__ = [
    "LABEL",
    "PLUGIN_PLACEHOLDER",
    "BaselineField",
    "Compute",
    "Explain",
    "Job",
    "JobPath",
    "Output",
    "Score",
    "Target",
    "identity",
    "load_job",
    "parse_job",
    "resolve_plugin",
    "to_yaml",
]


def _from_job_folder(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path.cwd())
    try:
        return Path(os.path.normpath(Path(folder) / path.expanduser()))
    except RuntimeError as error:
        raise ValueError(f"this machine has no such user: {error}") from error


JobPath = Annotated[Path, AfterValidator(_from_job_folder)]
"""A path of the job file: relative ones start at the folder of the job file."""


# --- plugins inside the job ---------------------------------------------------------------------


PLUGIN_PLACEHOLDER = "x-plugin"
LABEL = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""Pattern of the label that an engine has in a job, and in the result file."""


class _Resolve:
    """Turns `{kind: name, **options}` or a bare `name` into the plugin of that name."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def __call__(self, value: Any, info: ValidationInfo) -> Plugin:
        return resolve_plugin(self.registry, value, info.context)

    def __get_pydantic_json_schema__(self, _core: Any, _handler: GetJsonSchemaHandler) -> Any:
        # stands for a choice among plugins, which only `xattr_cli.schema` knows how to spell out
        return {PLUGIN_PLACEHOLDER: self.registry.noun}


def resolve_plugin(registry: Registry[Any], value: Any, context: dict[str, Any] | None = None) -> Plugin:
    """The plugin that a piece of the job file describes.

    Arguments:
        registry: where to look the name up.
        value: a name, a mapping with the registry's tag and the plugin's options, or a ready plugin.
        context: pydantic context; `folder` is where relative paths start.

    Raises:
        ValueError: no name, or an unknown one.
        pydantic.ValidationError: an option is wrong.
    """
    if isinstance(value, Plugin):
        return value
    if isinstance(value, str):
        value = {registry.tag: value}
    if not isinstance(value, Mapping):
        raise ValueError(f"must be a name, or a mapping with the key {registry.tag!r}")
    options = dict(value)
    if registry.tag not in options:
        raise ValueError(f"the key {registry.tag!r} is missing.{suggestion('', registry.names())}")
    name = options.pop(registry.tag)
    try:
        cls = registry.get(str(name))
    except JobError as error:
        raise ValueError(str(error)) from error
    plugin: Plugin = cls.model_validate(options, context=context)
    return plugin


def _plugin_field(registry: Registry[Any]) -> Any:
    return Annotated[SerializeAsAny[InstanceOf[Plugin]], BeforeValidator(_Resolve(registry)), _Resolve(registry)]


BaselineField = _plugin_field(BASELINES)
"""Type of an engine's `baseline` option."""


# --- the sections -------------------------------------------------------------------------------


TARGET_WORDS = ("predicted", "label", "all")


class Target(Options):
    """Which outputs of the model are explained, for every sample.

    Attributes:
        select: how they are found.
        index: output numbers; with `select="index"` only.
        count: how many of the highest scores; with `select="top"` only.
    """

    select: Literal["predicted", "label", "all", "index", "top"] = "predicted"
    index: tuple[Annotated[int, Field(ge=0)], ...] = ()
    count: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        if (self.select == "index") != bool(self.index) or (self.select == "top") != bool(self.count):
            raise ValueError("index goes with select='index', count with select='top'")
        return self

    @model_serializer
    def _dump(self) -> Any:
        if self.select == "index":
            return {"index": list(self.index)}
        if self.select == "top":
            return {"top": self.count}
        return self.select

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: Any, _handler: GetJsonSchemaHandler) -> Any:
        index = {"type": "integer", "minimum": 0}
        several = {"type": "array", "items": index, "minItems": 1}
        return {
            "description": "Which outputs of the model are explained.",
            "anyOf": [
                {"enum": list(TARGET_WORDS)},
                _only_key("index", {"anyOf": [index, several]}),
                _only_key("top", {"type": "integer", "minimum": 1}),
            ],
        }


class _Index(Options):
    """`{index: 3}` or `{index: [3, 5]}`, as the YAML has it."""

    index: Annotated[int, Field(ge=0)] | Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class _Top(Options):
    """`{top: 5}`, as the YAML has it."""

    top: int = Field(ge=1)


def _read_target(value: Any) -> Target:
    if isinstance(value, Target):
        return value
    if isinstance(value, str) and value in TARGET_WORDS:
        return Target.model_validate({"select": value})
    if isinstance(value, dict) and list(value) == ["index"]:
        index = _Index.model_validate(value).index
        return Target(select="index", index=(index,) if isinstance(index, int) else index)
    if isinstance(value, dict) and list(value) == ["top"]:
        return Target(select="top", count=_Top.model_validate(value).top)
    raise ValueError("not a target." + suggestion(value, [*TARGET_WORDS, "{index: 3}", "{top: 5}"]))


def _only_key(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a mapping with one key."""
    return {
        "type": "object",
        "properties": {name: schema},
        "required": [name],
        "additionalProperties": False,
    }


Score = Literal["auto", "logit", "probability", "log_probability", "raw"]


class Explain(Options):
    """Which input tensors are explained; the rest is context.

    Attributes:
        inputs: their names; empty for all.
    """

    inputs: tuple[str, ...] = ()

    @model_serializer
    def _dump(self) -> Any:
        return {"inputs": list(self.inputs)} if self.inputs else "inputs"

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: Any, _handler: GetJsonSchemaHandler) -> Any:
        names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        return {
            "description": "Which input tensors are explained; the rest is context.",
            "anyOf": [{"const": "inputs"}, _only_key("inputs", names)],
        }


def _read_explain(value: Any) -> Explain:
    if isinstance(value, Explain):
        return value
    if value == "inputs":
        return Explain()
    if isinstance(value, dict) and value and value.get("inputs") != []:
        return Explain.model_validate(value)
    raise ValueError("not understood." + suggestion(value, ["inputs", "{inputs: [names]}"]))


DEVICE = r"(auto|cpu|mps|cuda(:[0-9]+)?)"


class Compute(Options):
    """Where and how the network is evaluated."""

    device: str = Field(
        default="auto",
        description="auto, cpu, cuda, cuda:N or mps; auto takes the first CUDA device, else Apple's, else the CPU",
        json_schema_extra={"pattern": rf"^{DEVICE}$|{VARIABLE}"},
    )
    precision: Literal["auto", "float32", "float64"] = Field(
        default="auto", description="auto keeps that of the checkpoint, at least float32; TF32 stays off"
    )
    batch_rows: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto", description="points per device call; auto derives it from the network's activations"
    )
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto", description="CPU threads; auto leaves them as torch finds them"
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="of every random draw, together with the sample's index"
    )

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not re.fullmatch(DEVICE, value):
            raise ValueError("not a device." + suggestion(value, ["auto", "cpu", "cuda", "cuda:0", "mps"]))
        return value


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


class Job(Options):
    """A job: which network, which data, which outputs, which methods, and where the answer goes."""

    model: _plugin_field(MODELS)  # type: ignore[valid-type]
    dataset: _plugin_field(DATASETS)  # type: ignore[valid-type]
    target: Annotated[Target, BeforeValidator(_read_target)] = Field(
        default=Target(), description="predicted, label, all, {index: 3}, {index: [3, 5]} or {top: 5}"
    )
    score: Score = Field(
        default="auto",
        description="auto takes the raw output, which for a classifier is its logit",
    )
    explain: Annotated[Explain, BeforeValidator(_read_explain)] = Field(
        default=Explain(), description="inputs for all input tensors, or {inputs: [names]}"
    )
    engines: dict[str, _plugin_field(ENGINES)]  # type: ignore[valid-type]
    compute: Compute = Compute()
    output: Output

    @field_validator("engines", mode="before")
    @classmethod
    def _name_engines(cls, value: Any) -> Any:
        labelled = _by_label(value)
        for label in labelled:
            if not re.fullmatch(LABEL, str(label)):
                raise ValueError(
                    f"the label {label!r} may hold letters, digits, '_', '-' and '.' only, and start with none "
                    "of '-' and '.'"
                )
        return {str(label): _with_engine_name(str(label), options) for label, options in labelled.items()}


def _by_label(value: Any) -> dict[Any, Any]:
    """Engines as a mapping from label to options, whichever way they are written."""
    names = [value] if isinstance(value, str) else value
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        if len(set(names)) < len(names):
            raise ValueError("an engine is named twice; give it a second label: {label: {engine: NAME}}")
        value = dict.fromkeys(names)
    if not isinstance(value, dict):
        raise ValueError("must be a mapping from label to options, or a list of engine names")
    if not value:
        raise ValueError("no engine is named." + suggestion("", ENGINES.names()))
    return value


def _with_engine_name(label: str, options: Any) -> Any:
    if options is None:
        return {ENGINES.tag: label}
    return {ENGINES.tag: label, **options} if isinstance(options, dict) else options


# --- reading ------------------------------------------------------------------------------------


def load_job(source: str, overrides: Sequence[str] = ()) -> Job:
    """Read, override and check a job file.

    Arguments:
        source: path of a YAML file.
        overrides: `dotted.key=value` texts; the values are YAML.

    Raises:
        JobError: the file cannot be read, or any key of it is wrong.
    """
    path = Path(source)
    return parse_job(read_job_text(path), folder=path.resolve().parent, overrides=overrides)


def parse_job(text: str, *, folder: Path, overrides: Sequence[str] = ()) -> Job:
    """Check the text of a job file; relative paths in it start at `folder`.

    Raises:
        JobError: names every wrong key with its value, what is allowed and the nearest match.
    """
    values = plain_values(text, overrides)
    try:
        return Job.model_validate(values, context={"folder": folder})
    except ValidationError as error:
        raise JobError(describe(error, values)) from error


# --- writing ------------------------------------------------------------------------------------


def to_yaml(job: Job) -> str:
    """The job with every default spelled out, as YAML."""
    return write_values(job.model_dump(mode="json"))


def identity(job: Job) -> dict[str, Any]:
    """The part of a job that decides its numbers; what may change between a kill and a resume is left out."""
    content = job.model_dump(mode="json")
    content["compute"] = {k: content["compute"][k] for k in ("precision", "seed")}
    content["output"] = {k: content["output"][k] for k in ("part_rows", "store_inputs", "compression")}
    return content
