"""Options of `icc` and `sobol`: how shares of the variance are estimated, when that is enough, and of what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

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

    measure: Literal["variance", "entropy"] = Field(
        default="variance",
        description="what is shared out: the variance of each output, or the entropy of the predicted class, and "
        "of whether it is each one (then each of `samples` draws is paired with as many others)",
    )

    @model_validator(mode="after")
    def _polynomials_have_variances(self) -> Any:
        if self.measure == "entropy" and self.control != "none":
            raise ValueError("control: polynomial goes with measure: variance; a class is no smooth function")
        return self


@dataclass(frozen=True)
class _Distribution:
    """Numbers of a distribution: their names, what must hold, and an example."""

    names: str
    must: str
    holds: Callable[..., bool]
    example: str


_DISTRIBUTIONS = {
    "uniform": _Distribution("low, high", "low < high", lambda low, high: low < high, "0, 1"),
    "normal": _Distribution("mean, deviation", "deviation > 0", lambda _, deviation: deviation > 0, "0, 1"),
    "lognormal": _Distribution(
        "mean of the logarithm, its deviation", "deviation > 0", lambda _, deviation: deviation > 0, "0, 1"
    ),
    "loguniform": _Distribution("low, high", "0 < low < high", lambda low, high: 0 < low < high, "1, 100"),
    "triangular": _Distribution(
        "low, mode, high",
        "low <= mode <= high and low < high",
        lambda low, mode, high: low <= mode <= high and low < high,
        "0, 1, 3",
    ),
    "truncated_normal": _Distribution(
        "mean, deviation, low, high",
        "deviation > 0 and low < high",
        lambda _, deviation, low, high: deviation > 0 and low < high,
        "0, 1, -2, 2",
    ),
    "exponential": _Distribution("mean", "mean > 0", lambda mean: mean > 0, "1"),
}
_FORMS = ", ".join(f"{{{kind}: [{d.names}]}}" for kind, d in _DISTRIBUTIONS.items())


def _fitting(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    if len(content) != 1:
        raise ValueError(f"must be one of {_FORMS}, {{values: [...]}}")
    ((kind, numbers),) = content.items()
    if not numbers or not all(map(isfinite, numbers)):
        raise ValueError(f"{kind} needs finite numbers")
    if kind == "values":
        return content
    known = _DISTRIBUTIONS[kind]
    if len(numbers) != known.names.count(",") + 1 or not known.holds(*numbers):
        raise ValueError(
            f"{kind} must be [{known.names}] with {known.must}, such as {{{kind}: [{known.example}]}}"
        )
    return content


Feature = str | Annotated[int, Field(ge=0)]
Kind = Literal[
    "uniform",
    "normal",
    "lognormal",
    "loguniform",
    "triangular",
    "truncated_normal",
    "exponential",
    "values",
]
MarginalOption = Annotated[
    Literal["data", "uniform", "normal"] | dict[Kind, tuple[float, ...]], AfterValidator(_fitting)
]
"""What a column is drawn from."""


class SobolOptions(ContributionEngine):
    """What is asked of a study of Sobol' indices."""

    marginals: MarginalOption = Field(
        default="data",
        description="of all features: data (the values that they have), uniform (over their range in the data), "
        "normal (with mean and deviation of the data), or one of " + _FORMS + ", {values: [equally likely ones]}",
    )
    given: dict[str, MarginalOption] = Field(
        default={}, description="the same for some features, or all members of a group: {name: marginal}"
    )
    groups: dict[str, tuple[Feature, ...]] = Field(
        default={},
        description="{name: [features]} that are one input, such as a one-hot block; its members are drawn "
        "together where they come from the data, and independently where a distribution is given",
    )
    control: Literal["polynomial", "none"] = Field(default="polynomial", description=CONTROL)
    pairs: Literal["auto"] | bool = Field(
        default="auto", description="also give closed second-order indices; auto: for up to 64 inputs"
    )
