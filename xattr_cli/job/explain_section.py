"""The section `explain` of a job: which tensors get a map, and what of the map is stored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_serializer, model_validator

from ..errors import suggestion
from ..registry import Options

__all__ = ["AUTO", "Explain", "ExplainField", "Reduction"]

AUTO = "auto"
"""As the name of an embedding: whichever the network has."""

Reduction = Literal["none", "sum", "l2"]
Name = Annotated[str, Field(min_length=1)]
Names = tuple[Name, ...]

_FORMS = ("inputs", "{inputs: [names]}", "{embedding: auto}", "{layer: name}")


class Explain(Options):
    """Which tensors are explained; the rest is context.

    Without `inputs`, `embedding` and `layer`, all inputs of the network are.

    Attributes:
        inputs: names of inputs.
        embedding: names of embedding modules whose output is explained instead of the ids they look up.
        layer: names of modules whose output or input is explained.
        side: of the layers.
        part: which of several tensors that a layer returns or takes: a position or a name.
        reduce: how a map over embedding, feature or channel axes becomes one number per token, step or pixel;
            None stands for `sum` where an embedding is explained, and `none` elsewhere.
        store: `full` keeps the whole map, with the reduced one beside it; `reduced` keeps that one only.
    """

    inputs: tuple[str, ...] = ()
    embedding: Names = ()
    layer: Names = ()
    side: Literal["input", "output"] = "output"
    part: Annotated[int, Field(ge=0)] | Name | None = None
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

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: Any, _handler: GetJsonSchemaHandler) -> Any:
        name = {"type": "string", "minLength": 1}
        names = {"type": "array", "items": name, "minItems": 1}
        options = {
            "inputs": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "embedding": {"anyOf": [name, names]},
            "layer": {"anyOf": [name, names]},
            "side": {"enum": ["input", "output"]},
            "part": {"anyOf": [{"type": "integer", "minimum": 0}, name]},
            "reduce": {"enum": ["none", "sum", "l2"]},
            "store": {"enum": ["full", "reduced"]},
        }
        mapping = {"type": "object", "properties": options, "minProperties": 1, "additionalProperties": False}
        return {
            "description": "Which tensors are explained; the rest is context.",
            "anyOf": [{"const": "inputs"}, mapping],
        }


def _read_explain(value: Any) -> Explain:
    if isinstance(value, Explain):
        return value
    if value == "inputs":
        return Explain()
    if isinstance(value, dict) and value and [] not in value.values():
        listed = {k: [v] if k in ("embedding", "layer") and isinstance(v, str) else v for k, v in value.items()}
        return Explain.model_validate(listed)
    raise ValueError("not understood." + suggestion(value, _FORMS))


ExplainField = Annotated[Explain, BeforeValidator(_read_explain)]
"""Type of the key `explain` of a job."""
