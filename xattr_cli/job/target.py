"""The section `target` of a job: which scores are explained, and how those of several positions become one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_serializer, model_validator

from ..errors import suggestion
from ..registry import Options

__all__ = ["PREDICTED_POSITIONS", "TARGET_WORDS", "Mask", "Place", "Target", "TargetField", "named_target"]

TARGET_WORDS = ("predicted", "second", "label", "all", "continuation")
PREDICTED_POSITIONS = "predicted"
"""As the name of a mask: the positions at which the class that is explained is the predicted one."""

Place = int | str | tuple[int | str, ...]
"""An output: its number, the name of its class, or a number (or a name) for each axis of a sample's output."""


class Mask(Options):
    """Positions that count: where an input of the dataset is not zero."""

    mask: str = Field(min_length=1)
    take: Literal["sum", "mean"] = "sum"


class Target(Options):
    """Which scores of the network are explained, for every sample.

    Attributes:
        select: how they are found; `continuation` are the output tokens of each prompt.
        index: outputs; with `select="index"` only.
        count: how many of the highest scores; with `select="top"` only.
        column: of the dataset, which names the output of each sample; with `select="column"` only.
        reduce: how the scores of several positions (pixels, steps, tokens) become one score per class.
        axis: of the output, batch axis included, that counts the classes; None finds it.
    """

    select: Literal["predicted", "second", "label", "all", "continuation", "index", "top", "column"] = "predicted"
    index: tuple[Place, ...] = ()
    count: int = Field(default=0, ge=0)
    column: str = ""
    reduce: Literal["none", "sum", "mean"] | Mask = "none"
    axis: int | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        filled = {"index": bool(self.index), "top": bool(self.count), "column": bool(self.column)}
        if any((self.select == name) != there for name, there in filled.items()):
            raise ValueError("index goes with select='index', count with select='top', column with 'column'")
        if self.axis == 0:
            raise ValueError("axis 0 counts the samples; the classes are along another one")
        return self

    @model_serializer
    def _dump(self) -> Any:
        listed = [list(place) if isinstance(place, tuple) else place for place in self.index]
        said: dict[str, Any] = {"index": listed, "top": self.count, "column": self.column}
        form: dict[str, Any] = {self.select: said[self.select]} if self.select in said else {"select": self.select}
        reduce = self.reduce if isinstance(self.reduce, str) else self.reduce.model_dump()
        more: dict[str, Any] = {"reduce": reduce} if reduce != "none" else {}
        more |= {} if self.axis is None else {"axis": self.axis}
        return self.select if "select" in form and not more else {**form, **more}

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: Any, _handler: GetJsonSchemaHandler) -> Any:
        name = {"type": "string", "minLength": 1}
        entry = {"anyOf": [{"type": "integer", "minimum": 0}, name]}
        place = {"anyOf": [entry, {"type": "array", "items": entry, "minItems": 1}]}
        ways = {
            "select": {"enum": list(TARGET_WORDS)},
            "index": {"anyOf": [entry, {"type": "array", "items": place, "minItems": 1}]},
            "top": {"type": "integer", "minimum": 1},
            "column": name,
        }
        mask = _mapping({"mask": name, "take": {"enum": ["sum", "mean"]}}, "mask")
        shared = {
            "reduce": {"anyOf": [{"enum": ["none", "sum", "mean"]}, mask]},
            "axis": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "integer", "maximum": -1}]},
        }
        forms = [_mapping({way: schema, **shared}, way) for way, schema in ways.items()]
        return {
            "description": "Which outputs of the model are explained.",
            "anyOf": [{"enum": list(TARGET_WORDS)}, *forms, {**_mapping(shared), "minProperties": 1}],
        }


def _mapping(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """JSON Schema of a mapping."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _places(value: Any) -> tuple[Place, ...]:
    """What stands under `index`: an output, or several."""
    entries = value if isinstance(value, list | tuple) else [value]
    if not entries:
        raise ValueError("names no output; give a number, a class name, or a list of them")
    return tuple(
        tuple(map(_entry, one)) if isinstance(one, list | tuple) and one else _entry(one) for one in entries
    )


def _entry(value: Any) -> int | str:
    # texts of digits are numbers: they come from ${VAR} and from command lines
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if (isinstance(value, int) and not isinstance(value, bool) and value >= 0) or (
        isinstance(value, str) and value
    ):
        return value
    raise ValueError(f"{value!r} must be the number of an output, 0 or more, or the name of its class")


class _Form(Options):
    """A target as a mapping of the job file has it."""

    select: Literal["predicted", "second", "label", "all", "continuation"] | None = None
    index: Annotated[tuple[Place, ...] | None, BeforeValidator(_places)] = None
    top: Annotated[int, Field(ge=1)] | None = None
    column: Annotated[str, Field(min_length=1)] | None = None
    reduce: Literal["none", "sum", "mean"] | Mask = "none"
    axis: int | None = None


def _read_target(value: Any) -> Target:
    if isinstance(value, Target):
        return value
    if isinstance(value, str) and value in TARGET_WORDS:
        return Target.model_validate({"select": value})
    ways = ("select", "index", "top", "column")
    known = {*ways, "reduce", "axis"}
    if isinstance(value, dict) and value and set(value) <= known and sum(way in value for way in ways) <= 1:
        form = _Form.model_validate(value)
        shared = {"reduce": form.reduce, "axis": form.axis}
        if "index" in value:
            return Target.model_validate({"select": "index", "index": form.index, **shared})
        if form.top is not None:
            return Target.model_validate({"select": "top", "count": form.top, **shared})
        if form.column is not None:
            return Target.model_validate({"select": "column", "column": form.column, **shared})
        return Target.model_validate({"select": form.select or "predicted", **shared})
    forms = [*TARGET_WORDS, "{index: 3}", "{index: name}", "{top: 5}", "{column: name}"]
    short = isinstance(value, int | str) and not isinstance(value, bool)
    hint = (
        f" The {'class' if isinstance(value, str) else 'output'} {value} is {{index: {value}}}." if short else ""
    )
    raise ValueError("not a target." + suggestion(value, forms) + hint)


def named_target(value: Any) -> Any:
    """What a job has under `target`, of what a call or a command line may say shorter.

    Numbers and texts alone are outputs and classes; the words that a job knows stay what they are.

    Example:
        >>> named_target(3), named_target("cat"), named_target("label"), named_target({"top": 2})
        ({'index': 3}, {'index': 'cat'}, 'label', {'top': 2})
    """
    is_outputs = isinstance(value, int | list) or (isinstance(value, str) and value not in TARGET_WORDS)
    return {"index": value} if is_outputs else value


TargetField = Annotated[Target, BeforeValidator(_read_target)]
"""Type of the key `target` of a job."""
