"""Options of `icc` and `sobol`: how shares of the variance are estimated, when that is enough, and of what."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ...causal.options import CausalOptions
from ..base import PopulationEngine

__all__ = ["CONTROL", "ContributionEngine", "IccOptions", "MarginalOption", "SobolOptions"]

CONTROL = (
    "polynomial: one in the noise is fitted on the way, and only what it does not explain is sampled; for smooth "
    "functions of few nodes errors fall by a digit or more, networks with kinks gain nothing (for the exact "
    "estimator and up to 32 outputs only)"
)
"""Description of the option, whose default differs."""


class ContributionEngine(PopulationEngine):
    """A method that gives every input a share of the variance of the outputs."""

    estimator: Literal["auto", "exact", "walk"] = Field(
        default="auto",
        description="exact: all 2^d subsets of d nodes, 16 at most; walk: random orders of the nodes; auto: exact "
        "for up to 5 nodes, beyond which walks reach the same error with fewer evaluations",
    )
    samples: Literal["auto"] | Annotated[int, Field(ge=8)] = Field(
        default="auto",
        description="draws of the first round, over all replicates, rounded up to powers of two; every further "
        "round doubles them; auto: 2048, or fewer if max_evaluations asks for it",
    )
    replicates: int = Field(
        default=8, ge=4, le=256, description="independent scramblings of the draws, which give the standard errors"
    )
    rtol: float = Field(
        default=0.002,
        gt=0,
        lt=1,
        description="stop when the 95 % intervals of all shares of the output's variance are ± this or narrower",
    )
    control: Literal["polynomial", "none"] = Field(default="none", description=CONTROL)
    max_evaluations: int = Field(
        default=2**23, ge=1, description="of the network; no further round is begun that would exceed it"
    )

    @property
    def differentiates(self) -> bool:
        """Scores alone are asked for."""
        return False


class IccOptions(ContributionEngine, CausalOptions):
    """What is asked of a study of intrinsic causal contributions."""


def _fitting(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    if len(given) != 1:
        raise ValueError("must be one of {uniform: [low, high]}, {normal: [mean, deviation]}, {values: [...]}")
    ((kind, numbers),) = given.items()
    if not numbers or not all(map(isfinite, numbers)):
        raise ValueError(f"{kind} needs finite numbers")
    if kind == "uniform" and not (len(numbers) == 2 and numbers[0] < numbers[1]):
        raise ValueError("uniform must be [low, high] with low < high, such as {uniform: [0, 1]}")
    if kind == "normal" and not (len(numbers) == 2 and numbers[1] > 0):
        raise ValueError("normal must be [mean, deviation] with deviation > 0, such as {normal: [0, 1]}")
    return given


Feature = str | Annotated[int, Field(ge=0)]
MarginalOption = Annotated[
    Literal["data", "uniform", "normal"] | dict[Literal["uniform", "normal", "values"], tuple[float, ...]],
    AfterValidator(_fitting),
]
"""What a column is drawn from."""


class SobolOptions(ContributionEngine):
    """What is asked of a study of Sobol' indices."""

    marginals: MarginalOption = Field(
        default="data",
        description="of all features: data (the values that they have), uniform (over their range in the data), "
        "normal (with mean and deviation of the data), {uniform: [low, high]}, {normal: [mean, deviation]} or "
        "{values: [equally likely ones]}",
    )
    given: dict[str, MarginalOption] = Field(
        default={}, description="the same for some features: {name: marginal}"
    )
    groups: dict[str, tuple[Feature, ...]] = Field(
        default={},
        description="{name: [features]} that are one input, such as a one-hot block; drawn together from the data",
    )
    control: Literal["polynomial", "none"] = Field(default="polynomial", description=CONTROL)
    pairs: Literal["auto"] | bool = Field(
        default="auto", description="also give closed second-order indices; auto: for up to 64 inputs"
    )
