"""Options that the gradient-free methods share: which features are replaced together, and by what."""

from __future__ import annotations

from pydantic import Field

from ...job.config import BaselineField
from ..base import LocalEngine
from ..interactions.groups import FeatureKey, Groups, GroupsField

__all__ = ["RemovalEngine"]


class RemovalEngine(LocalEngine):
    """A method that asks for scores alone, of inputs whose groups are replaced by those of a baseline."""

    baseline: BaselineField = Field(
        default={"kind": "zero"}, validate_default=True, description="what takes the place of a feature, x'"
    )
    groups: GroupsField = Field(
        default=Groups(),
        description="what is replaced at once: features, tokens, time, channels, {patches: 16} of 16 × 16 pixels, "
        "{segments: 50} superpixels, segments of prompts, {name: [features], ...} or a file of these, {file: "
        "groups.yaml}",
    )

    @property
    def features(self) -> tuple[FeatureKey, ...]:
        """All groups are looked at."""
        return ()

    @property
    def row(self) -> None:
        """No group is looked at alone."""

    @property
    def top(self) -> None:
        """No group is chosen."""

    @property
    def rest(self) -> str:
        """Features in no group are one more group."""
        return "group"

    @property
    def differentiates(self) -> bool:
        return False
