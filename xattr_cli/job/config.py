"""The job file: pydantic models that are the one source of validation, defaults, documentation and schema."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BeforeValidator,
    Field,
    GetJsonSchemaHandler,
    InstanceOf,
    SerializeAsAny,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..errors import JobError, reported, suggestion
from ..registry import BASELINES, DATASETS, ENGINES, MODELS, SCORES, Options, Plugin, Registry
from .file_kinds import data_kind, is_checkpoint, model_kind
from .sections import Compute, Explain, ExplainField, JobPath, Output
from .stability import Stability
from .target import Target, TargetField
from .validation import describe, refuse_unusable
from .yaml_text import plain_values, read_job_text, write_values

__all__ = [
    "LABEL",
    "PLUGIN_LIST",
    "PLUGIN_PLACEHOLDER",
    "BaselineField",
    "Compute",
    "Explain",
    "Job",
    "JobPath",
    "Output",
    "Target",
    "check_job",
    "keys_named",
    "load_job",
    "parse_job",
    "resolve_plugin",
    "to_yaml",
]


# --- plugins inside the job ---------------------------------------------------------------------


PLUGIN_PLACEHOLDER = "x-plugin"
PLUGIN_LIST = "x-plugin-list"
"""Beside the placeholder: a list of plugins is one, too."""
LABEL = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
"""Pattern of the label that an engine has in a job, and in the result file."""


class _Resolve:
    """Turns `{kind: name, **options}` or a bare `name` into the plugin of that name."""

    def __init__(self, registry: Registry[Any]) -> None:
        self.registry = registry

    def __call__(self, value: Any, info: ValidationInfo) -> Plugin:
        return resolve_plugin(self.registry, value, info.context)

    def __get_pydantic_json_schema__(self, _core: Any, _handler: GetJsonSchemaHandler) -> Any:
        # stands for a choice among plugins, which only `xattr_cli.job.schema` knows how to spell out
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
    hint = _whole_form(registry, value) if isinstance(value, str) else ""
    if isinstance(value, str):
        value = {registry.tag: value}
    if not isinstance(value, Mapping):
        is_number = registry is BASELINES and isinstance(value, int | float)
        hint = f"; that number everywhere is {{kind: constant, value: {value}}}" if is_number else ""
        raise ValueError(f"must be a name, or a mapping with the key {registry.tag!r}{hint}")
    options = dict(value)
    if registry.tag not in options:
        raise ValueError(f"the key {registry.tag!r} is missing.{suggestion('', registry.names())}")
    name = options.pop(registry.tag)
    try:
        cls = registry.get(str(name))
    except JobError as error:
        raise ValueError(f"{error}{hint}") from error
    plugin: Plugin = cls.model_validate(options, context=context)
    return plugin


def _whole_form(registry: Registry[Any], word: str) -> str:
    """What to write for a network, or a file, that stands in the place of its kind."""
    if registry is DATASETS and (kind := data_kind(word)):
        return f" A file is given as {{kind: {kind}, path: {word}}}."
    if registry is not MODELS:
        return ""
    if kind := model_kind(word):
        return f" A file is given as {{kind: {kind}, path: {word}}}."
    if is_checkpoint(word):
        return (
            f" Weights stand beside the network they are of: {{kind: torchvision, name: …, checkpoint: {word}}}."
        )
    return f" A network of torchvision is {{kind: torchvision, name: {word}}}."


def _plugin_field(registry: Registry[Any], resolver: type[_Resolve] = _Resolve) -> Any:
    resolve = resolver(registry)
    return Annotated[SerializeAsAny[InstanceOf[Plugin]], BeforeValidator(resolve), resolve]


class _ResolveBaseline(_Resolve):
    """Turns a list of baselines, too, into the plugin that stands for several."""

    def __call__(self, value: Any, info: ValidationInfo) -> Plugin:
        return super().__call__(
            {"kind": "several", "baselines": value} if isinstance(value, list) else value, info
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: GetJsonSchemaHandler) -> Any:
        return {**super().__get_pydantic_json_schema__(core, handler), PLUGIN_LIST: True}


BaselineField = _plugin_field(BASELINES, _ResolveBaseline)
"""Type of an engine's `baseline` option."""


class _ResolveScore(_Resolve):
    """Turns `{name: options}` or a bare `name` into the score of that name."""

    def __call__(self, value: Any, info: ValidationInfo) -> Plugin:
        if isinstance(value, dict):
            if len(value) != 1:
                raise ValueError("must be a name, or a mapping with one key: {NAME: its options}")
            ((name, options),) = value.items()
            options = {name: options} if isinstance(options, str) else options  # {function: module:callable}
            if not isinstance(options, dict | None):
                raise ValueError(f"the options of {name!r} must be a mapping")
            try:
                return super().__call__({SCORES.tag: name, **(options or {})}, info)
            except ValidationError as error:
                raise _below(str(name), error) from error
        return super().__call__(value, info)


def _below(key: str, error: ValidationError) -> ValidationError:
    """The same faults, of options that stand below a key."""
    faults = [
        InitErrorDetails(
            type=PydanticCustomError(detail["type"], detail["msg"], detail.get("ctx")),
            loc=(key, *detail["loc"]),
            input=detail["input"],
        )
        for detail in error.errors(include_url=False)
    ]
    return ValidationError.from_exception_data(error.title, faults)


def _score_field() -> Any:
    resolve = _ResolveScore(SCORES)
    return Annotated[SerializeAsAny[InstanceOf[Plugin]], BeforeValidator(resolve), resolve]


# --- the job ------------------------------------------------------------------------------------


class Job(Options):
    """A job: which network, which data, which outputs, which methods, and where the answer goes."""

    model: _plugin_field(MODELS) = Field(description="the network; `xattr-cli models` lists the kinds")  # type: ignore[valid-type]
    dataset: _plugin_field(DATASETS) = Field(description="the samples; `xattr-cli datasets` lists the kinds")  # type: ignore[valid-type]
    target: TargetField = Field(
        default=Target(),
        description="predicted, second, label, all, {index: 3}, {index: [3, 5]}, {index: cat}, {top: 5} or "
        "{column: name}; {index: [1, 0, 0]} is one place in an output of three axes. Beside them, or as {select: "
        "predicted, reduce: mean}: reduce: sum, mean or {mask: input} makes one score per class of all positions "
        "(mask: predicted counts those of the class), axis says which axis of the output counts the classes",
    )
    score: _score_field() = Field(  # type: ignore[valid-type]
        default="auto",
        validate_default=True,
        description="auto takes the raw output, which for a classifier is its logit; {NAME: its options}",
    )
    explain: ExplainField = Field(
        default=Explain(),
        description="inputs for all input tensors, {inputs: [names]}, {embedding: auto} or {layer: name}",
    )
    engines: dict[str, _plugin_field(ENGINES)] = Field(  # type: ignore[valid-type]
        description="what is computed: {NAME: its options}, or {LABEL: {engine: NAME, ...}} to have one twice; "
        "`xattr-cli engines` lists them"
    )
    allow_inconsistent: bool = Field(
        default=False,
        description="explain the gradient that autograd returns even where differences of the score show another "
        "one (detach, no_grad, straight-through rounding); the file says so, and no row counts as converged",
    )
    stability: Stability | None = Field(
        default=None, description="how firm the maps are when weights or inputs move; costs as much again per draw"
    )
    compute: Compute = Field(default=Compute(), description="where and how the network is evaluated")
    output: Output = Field(description="where the result goes, and how it is cut into parts")

    @classmethod
    def _advice(cls, key: Any, options: Mapping[Any, Any], allowed: list[str]) -> str:
        homes = keys_named(str(key), options)
        return f" Here it is {' or '.join(homes)}." if homes else super()._advice(key, options, allowed)

    @field_validator("output", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"must be a mapping: {{path: {value}}}")
        return value

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
        named = {str(label): _with_engine_name(str(label), options) for label, options in labelled.items()}
        for label, options in named.items():
            owners = [] if isinstance(options, dict | Plugin) else _owners(label, labelled)
            if owners:
                told = " or ".join(f"engines.{owner}.{label}" for owner in owners)
                raise ValueError(f"{label!r} is an option of an engine, not an engine: {told}.")
        return named


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


def keys_named(key: str, content: Mapping[Any, Any]) -> list[str]:
    """Dotted keys of a job that end with `key`, where it is no key of the job itself.

    Arguments:
        key: such as `rtol` or `device`.
        content: what a job holds, as far as that is known; kinds that it does not name may be any.

    Example:
        >>> keys_named("device", {}), keys_named("batch_size", {})
        (['compute.device'], ['compute.batch_rows'])
    """
    sections: dict[str, type[Options]] = {"compute": Compute, "output": Output}
    places = [f"{name}.{key}" for name, section in sections.items() if key in section.model_fields]
    if key in _ELSEWHERE or places:
        return [_ELSEWHERE.get(key, *places)]
    for name, registry in {"model": MODELS, "dataset": DATASETS}.items():
        if any(key in cls.model_fields for cls in _classes(registry, content.get(name))):
            places.append(f"{name}.{key}")
    labelled = content.get("engines")
    try:
        owners = _owners(key, _by_label(labelled)) if labelled else []
    except ValueError:  # the engines are wrong themselves, and so is said
        owners = []
    is_option = not labelled and any(key in cls.model_fields for cls in _classes(ENGINES, None))
    return places + [f"engines.{owner}.{key}" for owner in owners or (["NAME"] if is_option else [])]


_ELSEWHERE = {
    "batch_size": "compute.batch_rows",
    "batch": "compute.batch_rows",
    "gpu": "compute.device",
    "cuda": "compute.device",
    "cpu": "compute.device",
    "out": "output.path",
    "output": "output.path",
    "output_path": "output.path",
    "n_steps": "engines.NAME.rtol",
    "steps": "engines.NAME.rtol",
    "layer": "explain.layer",
    "embedding": "explain.embedding",
}
"""Key that other programs have → where a job says the like."""


def _classes(registry: Registry[Any], value: Any) -> list[type[Plugin]]:
    """The class of the kind that a section names, or all if it names none that there is."""
    name = value.get(registry.tag) if isinstance(value, Mapping) else value
    names = [name] if name in registry.names() else registry.names()
    return list(registry.usable(lambda fault: None).values()) if len(names) > 1 else [registry.get(names[0])]


def _owners(option: str, labelled: Mapping[Any, Any]) -> list[str]:
    """Labels of the engines that have an option."""
    names = {
        str(label): options.get(ENGINES.tag, label) if isinstance(options, dict) else label
        for label, options in labelled.items()
    }
    known = set(ENGINES.names())
    return [
        label for label, name in names.items() if name in known and option in ENGINES.get(str(name)).model_fields
    ]


# --- reading ------------------------------------------------------------------------------------


def load_job(source: str | Path, overrides: Sequence[str] = ()) -> Job:
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
    return check_job(plain_values(text, overrides), folder=folder)


def check_job(values: Mapping[str, Any], *, folder: Path) -> Job:
    """Check what a job file would hold; relative paths in it start at `folder`.

    Raises:
        JobError: names every wrong key with its value, what is allowed and the nearest match.
    """
    with reported("the job cannot be checked", JobError):
        refuse_unusable(values)
        try:
            return Job.model_validate(values, context={"folder": folder})
        except ValidationError as error:
            raise JobError(describe(error, values)) from error


# --- writing ------------------------------------------------------------------------------------


def to_yaml(job: Job) -> str:
    """The job with every default spelled out, as YAML."""
    return write_values(job.model_dump(mode="json"))
