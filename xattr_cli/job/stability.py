"""The section `stability` of a job: how firm the maps are when network or input move a little."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from ..registry import Options

__all__ = ["Stability"]


class Stability(Options):
    """How firm each map is: no integration error tells what a small change of the network or the input does to it.

    A relative change is ‖map of the changed − map‖ / ‖map‖, its mean over draws stands in the file with a
    standard error. Draws belong to the seed and, where the input moves, to the sample; a row takes more of them
    until its standard error is at most `rtol` of the mean. Maps of integrated gradients that move a
    little have the nodes of the map beside them: a draw costs what it did, and nodes are no part of the change.
    """

    engines: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), description="labels of the engines whose maps are judged; all that give rows maps if empty"
    )
    weights: float = Field(
        default=0.001,
        ge=0,
        lt=1,
        description="conditioning: every weight is multiplied by 1 + weights · N(0, 1); 0 for none",
    )
    inputs: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="sensitivity: N(0, inputs²) is added to the explained input, in the units of the network",
    )
    randomise: int = Field(
        default=0,
        ge=0,
        description="randomisation (Adebayo et al. 2018): in so many steps, more and more layers from the top "
        "have their weights shuffled; rank correlation of the map with the one before",
    )
    draws: int = Field(default=4, ge=2, description="of a row at first; doubled until rtol is met")
    max_draws: int = Field(default=16, ge=2, description="of a row at most")
    rtol: float = Field(
        default=0.2, gt=0, allow_inf_nan=False, description="standard error of a mean change, relative to it"
    )

    @model_validator(mode="after")
    def _asks_for_something(self) -> Stability:
        if not (self.weights or self.inputs or self.randomise):
            raise ValueError("asks for nothing: give weights, inputs or randomise a value above 0")
        if self.max_draws < self.draws:
            raise ValueError(f"max_draws: {self.max_draws} is less than draws: {self.draws}")
        return self
