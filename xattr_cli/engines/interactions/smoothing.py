"""The option `smoothing`: what a second-order engine does about kinks, where second derivatives are blind."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_serializer

from ...errors import suggestion
from ...registry import Options

__all__ = ["SmoothingField", "SmoothingOption"]

_FORMS = ("{beta: 10}", "none", "refuse")


class SmoothingOption(Options):
    """What is done about kinks.

    Attributes:
        mode: smooth replaces them; none leaves them; refuse makes them an error.
        beta: sharpness of the softplus that stands for a ReLU.
        allow: kinks to accept, by operation or by layer.operation.
    """

    mode: Literal["smooth", "none", "refuse"] = "smooth"
    beta: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    allow: tuple[str, ...] = ()

    @model_serializer
    def _dump(self) -> Any:
        if self.mode != "smooth":
            return self.mode
        return {"beta": self.beta, **({"allow": list(self.allow)} if self.allow else {})}


class _Smooth(Options):
    """`{beta: 10, allow: [topk]}`, as the YAML has it."""

    beta: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    allow: tuple[str, ...] = ()


def _read_smoothing(value: Any) -> SmoothingOption:
    if isinstance(value, SmoothingOption):
        return value
    if value in ("none", "refuse"):
        return SmoothingOption.model_validate({"mode": value})
    if isinstance(value, dict):
        options = _Smooth.model_validate(value)
        return SmoothingOption(beta=options.beta, allow=options.allow)
    raise ValueError("not understood." + suggestion(value, _FORMS))


SmoothingField = Annotated[
    SmoothingOption,
    BeforeValidator(_read_smoothing, json_schema_input_type=Literal["none", "refuse"] | _Smooth),
]
"""Type of the option `smoothing` of an engine."""
