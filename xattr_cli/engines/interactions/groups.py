"""The option `groups`: which coordinates are taken together, and what the groups are called."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_serializer

from ...errors import JobError, nearest, suggestion
from ...job.config import JobPath
from ...registry import Options
from ...untrusted.files import is_there, read_text
from ...untrusted.yaml_text import parse_yaml

__all__ = ["FeatureKey", "Groups", "GroupsField"]

FeatureKey = Annotated[int, Field(ge=0)] | str
"""Name or number of a feature or a group."""

Kind = Literal["features", "tokens", "time", "channels", "patches", "segments", "named"]

WORDS = ("features", "tokens", "time", "channels", "segments")
_FORMS = (*WORDS, "{patches: 16}", "{segments: 50}", "{file: groups.yaml}", "{name: [features], ...}")


class Groups(Options):
    """What the coordinates of a row are taken together as.

    Attributes:
        kind: features leaves each on its own; tokens and time take a step of a sequence together, channels a
            channel, patches a square of pixels, segments a superpixel of the sample, or without a size a segment
            of its prompt; named, what `members` say.
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
        ((key, members),) = value.items()
        if key in ("patches", "segments") and not isinstance(members, list):
            return Groups.model_validate({"kind": key, "size": _Size.model_validate({"size": members}).size})
        if key == "file" and isinstance(members, str | Path):
            return _named(_read_file(_File.model_validate({"file": members}, context=info.context).file))
    if isinstance(value, dict) and value:
        return _named(value)
    raise ValueError("not understood." + suggestion(value, _FORMS))


def _named(groups: Mapping[Any, Any]) -> Groups:
    listed = {
        str(name): members if isinstance(members, list | tuple) else [members] for name, members in groups.items()
    }
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


_Members = FeatureKey | Annotated[list[FeatureKey], Field(min_length=1)]
_Form = (
    Literal["features", "tokens", "time", "channels", "segments"]
    | Annotated[dict[str, _Members], Field(min_length=1)]
)

GroupsField = Annotated[Groups, BeforeValidator(_read_groups, json_schema_input_type=_Form)]
"""Type of the option `groups` of an engine."""
