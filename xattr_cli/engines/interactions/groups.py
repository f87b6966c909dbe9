"""The option `groups`: which coordinates are taken together, and what the groups are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, ValidationInfo, model_serializer

from ...errors import JobError, nearest, suggestion
from ...job.config import JobPath
from ...registry import Options
from ...untrusted.files import is_there, read_text
from ...untrusted.yaml_text import parse_yaml

__all__ = ["FeatureKey", "Groups", "GroupsField"]

FeatureKey = Annotated[int, Field(ge=0)] | str
"""Name or number of a feature or a group."""

Kind = Literal["features", "tokens", "time", "channels", "patches", "segments", "named"]

WORDS = ("features", "tokens", "time", "channels")
_FORMS = (*WORDS, "{patches: 16}", "{segments: 50}", "{file: groups.yaml}", "{name: [features], ...}")


class Groups(Options):
    """What the coordinates of a row are taken together as.

    Attributes:
        kind: features leaves each on its own; tokens and time take a step of a sequence together, channels a
            channel, patches a square of pixels, segments a superpixel of the sample; named, what `members` say.
        size: pixels along the side of a patch; number of superpixels.
        members: group -> its features, by name or number.
    """

    kind: Kind = "features"
    size: int = Field(default=0, ge=0)
    members: dict[str, tuple[FeatureKey, ...]] = Field(default={})

    @model_serializer
    def _dump(self) -> Any:
        if self.kind == "named":
            return {name: list(members) for name, members in self.members.items()}
        return {self.kind: self.size} if self.size else self.kind

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: Any, _handler: GetJsonSchemaHandler) -> Any:
        key = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}
        members = {"anyOf": [key, {"type": "array", "items": key, "minItems": 1}]}
        return {
            "description": "What the coordinates of a row are taken together as.",
            "anyOf": [
                {"enum": list(WORDS)},
                {"type": "object", "minProperties": 1, "additionalProperties": members},
            ],
        }


class _Size(Options):
    """`{patches: 16}` or `{segments: 50}`, as the YAML has it."""

    size: int = Field(ge=1)


class _Named(Options):
    """`{name: [features]}`, as the YAML or a file of groups has it."""

    members: dict[str, tuple[FeatureKey, ...]] = Field(min_length=1)


class _File(Options):
    """`{file: groups.yaml}`, as the YAML has it."""

    file: JobPath


def _read_groups(value: Any, info: ValidationInfo) -> Groups:
    if isinstance(value, Groups):
        return value
    if isinstance(value, str) and value in WORDS:
        return Groups.model_validate({"kind": value})
    if isinstance(value, dict) and len(value) == 1:
        ((key, given),) = value.items()
        if key in ("patches", "segments") and not isinstance(given, list):
            return Groups.model_validate({"kind": key, "size": _Size.model_validate({"size": given}).size})
        if key == "file" and isinstance(given, str | Path):
            return _named(_read_file(_File.model_validate({"file": given}, context=info.context).file))
    if isinstance(value, dict) and value:
        return _named(value)
    raise ValueError("not understood." + suggestion(value, _FORMS))


def _named(given: Mapping[Any, Any]) -> Groups:
    listed = {str(name): one if isinstance(one, list | tuple) else [one] for name, one in given.items()}
    return Groups(kind="named", members=_Named.model_validate({"members": listed}).members)


def _read_file(path: Path) -> Mapping[Any, Any]:
    """The mapping in a file of groups; it becomes part of the job, which then says all by itself."""
    if not is_there(path):
        others = [other.name for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        match = nearest(path.name, others)
        hint = f" Did you mean {str(path.parent / match)!r}?" if match else ""
        raise ValueError(f"{path}: no such file.{hint}")
    try:
        content = parse_yaml(read_text(path, "it", JobError), "it", JobError)
    except JobError as error:
        raise ValueError(f"{path}: cannot be read as YAML: {error}") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: must hold a mapping from the name of each group to its features.")
    return content


GroupsField = Annotated[Groups, BeforeValidator(_read_groups)]
"""Type of the option `groups` of an engine."""
