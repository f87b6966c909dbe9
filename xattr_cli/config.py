"""The job file: pydantic models that are the one source of validation, defaults, documentation and schema."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
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
from pydantic_core import ErrorDetails

from .errors import JobError, nearest, suggestion
from .registry import BASELINES, DATASETS, ENGINES, MODELS, Options, Plugin, Registry

__all__ = [
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
    "read_job_text",
    "resolve_plugin",
    "to_yaml",
]


def _from_job_folder(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder", Path.cwd())
    return Path(os.path.normpath(Path(folder) / path.expanduser()))


JobPath = Annotated[Path, AfterValidator(_from_job_folder)]
"""A path of the job file: relative ones start at the folder of the job file."""


# --- plugins inside the job ---------------------------------------------------------------------


PLUGIN_PLACEHOLDER = "x-plugin"


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
        raise ValueError(f"must be a {registry.noun} or a mapping with the key {registry.tag!r}")
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


class Target(Options):
    """Which outputs of the model are explained, for every sample.

    Written in YAML as `predicted`, `label`, `all`, `{index: 3}`, `{index: [3, 5]}` or `{top: 5}`.
    """

    select: Literal["predicted", "label", "all", "index", "top"] = "predicted"
    index: tuple[Annotated[int, Field(ge=0)], ...] = ()
    count: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        words = ("predicted", "label", "all")
        if isinstance(value, Target):
            return {"select": value.select, "index": value.index, "count": value.count}
        if isinstance(value, str) and value in words:
            return {"select": value}
        if isinstance(value, dict) and len(value) == 1:
            if "index" in value:
                index = value["index"]
                index = list(index) if isinstance(index, list | tuple) else [index]
                if not index or not all(type(i) is int and i >= 0 for i in index):
                    raise ValueError("index must be an output number, 0 or more, or a list of them")
                return {"select": "index", "index": index}
            if "top" in value:
                if type(value["top"]) is not int or value["top"] < 1:
                    raise ValueError("top must be a number of outputs, 1 or more")
                return {"select": "top", "count": value["top"]}
        if value == {} or (isinstance(value, dict) and "select" in value):
            return value
        allowed = [*words, "{index: 3}", "{top: 5}"]
        raise ValueError("not a target." + suggestion(value, allowed))

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
        return {
            "description": "Which outputs of the model are explained.",
            "anyOf": [
                {"enum": ["predicted", "label", "all"]},
                {
                    "type": "object",
                    "properties": {"index": {"anyOf": [index, {"type": "array", "items": index}]}},
                    "required": ["index"],
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "properties": {"top": {"type": "integer", "minimum": 1}},
                    "required": ["top"],
                    "additionalProperties": False,
                },
            ],
        }


Score = Literal["auto", "logit", "probability", "log_probability", "raw"]


class Explain(Options):
    """Which input tensors are explained: `inputs` for all, or `{inputs: [names]}`; the rest is context."""

    inputs: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, value: Any) -> Any:
        if value == "inputs":
            return {}
        if isinstance(value, str):
            raise ValueError("not understood." + suggestion(value, ["inputs", "{inputs: [names]}"]))
        return value

    @model_serializer
    def _dump(self) -> Any:
        return {"inputs": list(self.inputs)} if self.inputs else "inputs"

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: Any, _handler: GetJsonSchemaHandler) -> Any:
        names = {"type": "array", "items": {"type": "string"}, "minItems": 1}
        return {
            "description": "Which input tensors are explained; the rest is context.",
            "anyOf": [
                {"const": "inputs"},
                {
                    "type": "object",
                    "properties": {"inputs": names},
                    "required": ["inputs"],
                    "additionalProperties": False,
                },
            ],
        }


class Compute(Options):
    """Where and how the network is evaluated."""

    device: str = Field(
        default="auto",
        description="auto, cpu, cuda, cuda:N or mps; auto takes the first CUDA device, else the CPU",
    )
    precision: Literal["auto", "float32", "float64"] = Field(
        default="auto", description="auto keeps the precision of the checkpoint; TF32 stays off"
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
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
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
    target: Target = Target()
    score: Score = Field(
        default="auto",
        description="auto takes the raw output, which for a classifier is its logit",
    )
    explain: Explain = Explain()
    engines: dict[str, _plugin_field(ENGINES)] = Field(min_length=1)  # type: ignore[valid-type]
    compute: Compute = Compute()
    output: Output

    @field_validator("engines", mode="before")
    @classmethod
    def _name_engines(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list):
            value = {str(name): None for name in value}
        if not isinstance(value, dict):
            raise ValueError("must be a mapping from label to options, or a list of engine names")
        for label in value:
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", str(label)):
                raise ValueError(f"label {label!r} must be letters, digits, '_', '-' and '.' only")
        return {str(label): _with_engine_name(str(label), options) for label, options in value.items()}


def _with_engine_name(label: str, options: Any) -> Any:
    if options is None:
        return {"engine": label}
    return {"engine": label, **options} if isinstance(options, dict) else options


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


def read_job_text(path: Path) -> str:
    """Text of a job file; a missing one is an error that names its like in the same folder."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        folder = path.parent
        others = [p.name for p in folder.glob("*.y*ml")] if folder.is_dir() else []
        match = nearest(path.name, others)
        hint = f" Did you mean {str(folder / match)!r}?" if match else ""
        raise JobError(f"job file {path}: no such file.{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"job file {path}: cannot be read: {error}") from error


def parse_job(text: str, *, folder: Path, overrides: Sequence[str] = ()) -> Job:
    """Check the text of a job file; relative paths in it start at `folder`.

    Raises:
        JobError: names every wrong key with its value, what is allowed and the nearest match.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise JobError(f"the job file is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise JobError("the job file must be a mapping with the keys model, dataset, engines, output.")
    for override in overrides:
        _apply_override(raw, override)
    raw = _expand_variables(raw, at="")
    try:
        return Job.model_validate(raw, context={"folder": folder})
    except ValidationError as error:
        raise JobError(_describe(error)) from error


def _apply_override(raw: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise JobError(f"--set {override!r}: must look like compute.device=cpu")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise JobError(f"--set {override!r}: the value is not YAML: {error}") from error
    here: Any = raw
    for depth, key in enumerate(keys[:-1], start=1):
        if isinstance(here.get(key), str | list) and key == "engines":
            here[key] = {str(n): None for n in ([here[key]] if isinstance(here[key], str) else here[key])}
        if here.get(key) is None:
            here[key] = {}
        here = here[key]
        if not isinstance(here, dict):
            raise JobError(
                f"--set {override!r}: {'.'.join(keys[:depth])} is {here!r}, which has no keys; "
                f"set {'.'.join(keys[:depth])} as a whole."
            )
    here[keys[-1]] = value


def _expand_variables(value: Any, at: str) -> Any:
    if isinstance(value, dict):
        return {k: _expand_variables(v, f"{at}.{k}" if at else str(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand_variables(v, f"{at}.{i}") for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value

    def expand(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            like = nearest(name, os.environ)
            hint = f" Did you mean {like!r}?" if like else ""
            raise JobError(f"{at}: environment variable {name!r} is not set.{hint}")
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", expand, value)


def _describe(error: ValidationError) -> str:
    """Every line error as `dotted.key: what is wrong`, one a line."""
    return "\n".join(_describe_one(line) for line in error.errors(include_url=False))


_UNION_TAG = re.compile(r"(literal|constrained|function|list|tuple)[\[-].*|int|str|float|bool|none")


def _describe_one(line: ErrorDetails) -> str:
    keys = [str(k) for k in line["loc"] if not _UNION_TAG.fullmatch(str(k))]
    where = ".".join(keys) or "job"
    value = line.get("input")
    if line["type"] == "missing":
        return f"{where}: this key is missing."
    message = line["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(value, dict | Plugin) else f"{value!r}: "
    expected = str(line.get("ctx", {}).get("expected", ""))
    match = nearest(value, re.findall(r"'([^']+)'", expected))
    hint = f" Did you mean {match!r}?" if match else ""
    return f"{where}: {shown}{message}{hint}"


# --- writing ------------------------------------------------------------------------------------


def to_yaml(job: Job) -> str:
    """The job with every default spelled out, as YAML."""
    return yaml.safe_dump(job.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def identity(job: Job) -> dict[str, Any]:
    """The part of a job that decides its numbers; what may change between a kill and a resume is left out."""
    content = job.model_dump(mode="json")
    content["compute"] = {k: content["compute"][k] for k in ("precision", "seed")}
    content["output"] = {k: content["output"][k] for k in ("part_rows", "store_inputs", "compression")}
    return content
