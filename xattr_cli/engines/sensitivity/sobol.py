"""Sobol' indices and Shapley effects of the network under independent inputs (Sobol' 1993, Owen 2014)."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ...registry import ENGINES
from ..base import Effects
from .options import CONTROL, ContributionEngine

if TYPE_CHECKING:
    from ..population import Population

__all__ = ["Feature", "MarginalOption", "SobolIndices"]


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


@ENGINES.register("sobol")
class SobolIndices(ContributionEngine):
    """Sobol' indices of the network's output: first-order, total, closed second-order, and Shapley effects.

    Every input is drawn by itself, from the data or from a given distribution. With v(S) = Var(E[f | x_S])
    over Var(f): `first_order` is v({j}), what input j explains alone; `total` is 1 − v(all but j), what would be
    missing without it; `second_order` is v({i, j}), which less both first-order indices is their interaction;
    `shapley` is the mean of v(S ∪ j) − v(S) over all orders, lies between first-order and total index, and sums
    to 1. Every index has a standard error and a 95 % interval. Dependence among the inputs is not seen; see
    `icc` for that.

    Reference: Sobol' 1993; Saltelli 2002; Owen 2014, "Sobol' indices and Shapley value".
    """

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

    def check(self, population: Population) -> None:
        population.contributions.check_independent(self)

    def expected_evaluations(self, population: Population) -> int:
        return population.contributions.expected_independent(self)

    def study(self, population: Population) -> Effects:
        return population.contributions.independent(self)
