"""Options that the second-order methods share: which features or groups, and what is done about kinks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ...samples import InputSpec
from ..base import LocalEngine
from .groups import FeatureKey, Groups, GroupsField
from .membership import membership
from .smoothing import SmoothingField, SmoothingOption

__all__ = ["GROUP_AXES", "InteractionEngine"]

GROUP_AXES = {"top": ("group",), "segments": ("height", "width")}
"""Labels of the axes of what groups a row has, where they differ from row to row."""


class InteractionEngine(LocalEngine):
    """A method that gives every row a matrix of pairwise interactions."""

    groups: GroupsField = Field(
        default=Groups(),
        description="features, tokens, time, channels, {patches: 16} of 16 × 16 pixels, {segments: 50} "
        "superpixels, segments of prompts, {name: [features], ...} or a file of these, {file: groups.yaml}; "
        "each is a row and a column",
    )
    features: tuple[FeatureKey, ...] = Field(
        default=(), description="names or numbers of the groups to look at; all others become one more, the rest"
    )
    row: FeatureKey | None = Field(
        default=None, description="a group: only its interactions with each other one, at the cost of one"
    )
    top: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="look at as many groups, those with the largest first-order attributions of a row",
    )
    rest: Literal["group", "drop"] | None = Field(
        default=None,
        description="what becomes of features in no group: a group of their own, or dropped; null refuses them "
        "unless features or top leave them out",
    )
    smoothing: SmoothingField = Field(
        default=SmoothingOption(),
        description="second derivatives are blind to kinks: {beta: 10, allow: [operations]} replaces them for "
        "this engine only, ReLU by softplus; none leaves them; refuse makes them an error",
    )

    @model_validator(mode="after")
    def _one_choice_of_groups(self) -> Any:
        given = [name for name in ("features", "row", "top") if getattr(self, name) not in ((), None)]
        if len(given) > 1:
            raise ValueError(f"{given[0]} and {given[1]} both say which groups are looked at; give one of them")
        return self

    @property
    def second_order(self) -> bool:
        return True

    def values_per_row(self, specs: Sequence[InputSpec]) -> int:
        """Numbers in the matrices of a row, so that a part of rows does not outgrow memory.

        Raises:
            JobError: the groups do not fit the inputs.
        """
        groups = self.groups
        count = groups.size if groups.kind == "segments" else len(membership(groups, specs).names)
        looked_at = min(len(self.features) or self.top or count, count) + 1
        return looked_at if self.row is not None else looked_at**2
