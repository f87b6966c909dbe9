"""Options that `icc` and `sobol` share: how shares of the variance are estimated, and when that is enough."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ..base import PopulationEngine

__all__ = ["CONTROL", "ContributionEngine"]

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
