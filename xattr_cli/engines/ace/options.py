"""Options of average causal effects, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from ..base import PopulationEngine
from .strata import Covariance

__all__ = ["AceOptions"]

Feature = str | Annotated[int, Field(ge=0)]
Range = Annotated[tuple[float, ...], Field(min_length=2, max_length=2)]
Levels = Literal["data", "one_hot"] | tuple[float, ...] | tuple[tuple[float, ...], ...]


class AceOptions(PopulationEngine):
    """What is asked of a study of average causal effects."""

    alphas: int = Field(default=100, ge=8, le=100_000, description="points of every feature's range")
    range: Literal["data"] | Range | dict[str, Range | float] = Field(
        default="data",
        description="of α, as the network sees it: data (lowest to highest), {quantiles: 0.05} or {quantiles: "
        "[0.05, 0.95]} of the data, [low, high] for all, or {feature: [low, high]} for some",
    )
    features: tuple[Feature, ...] = Field(
        default=(), description="names or numbers of those to study; empty for all that are in no group"
    )
    groups: dict[str, tuple[Feature, ...]] = Field(
        default={}, description="{name: [features]} that are set together, each at the same place of its range"
    )
    pairs: tuple[Annotated[tuple[Feature, ...], Field(min_length=2, max_length=2)], ...] = Field(
        default=(),
        description="[[feature, feature], ...], names of features or groups that are also set both at once: "
        "the mean over the data on a grid of both, and what of it is no sum of two effects",
    )
    pair_alphas: int = Field(default=16, ge=3, le=1000, description="points of each feature in these grids")
    levels: Literal["data"] | dict[str, Levels] = Field(
        default={},
        description="of categorical columns: {name: [values]}, {name: data}, {group of columns: one_hot}; data "
        "alone gives every column that looks categorical the values that it has",
    )
    constant: Literal["error", "zero"] = Field(
        default="error", description="what a feature that never varies is: refused, or given the effect 0"
    )
    estimator: Literal["auto", "taylor", "empirical", "both"] = Field(
        default="auto",
        description="auto makes both, the empirical one on all samples or what ten million evaluations allow",
    )
    samples: Annotated[int, Field(ge=2)] | None = Field(
        default=None, description="size of the random sample that the empirical mean is taken over; null for all"
    )
    covariance: Literal["auto"] | dict[Literal["retained", "probes"], float] = Field(
        default="auto",
        description="{retained: 0.999} takes the directions of that share of the variance, {probes: 64} random "
        "ones with a standard error; auto: up to 64 directions of 99.9 %, else 32 and 32 probes of the rest",
    )
    order: Literal["auto"] | Annotated[int, Field(ge=0, le=40)] = Field(
        default="auto", description="of the regressors; auto chooses each by its evidence"
    )
    max_order: int = Field(
        default=20, ge=1, le=40, description="highest that is tried; at most twice the root of alphas"
    )
    lengths: str | None = Field(
        default=None, description="input with the steps of each sample, or a mask of them; padding is not counted"
    )
    feedback: Literal["none", "autoregressive"] = Field(
        default="none",
        description="autoregressive: the network maps a sequence to its next step; after an intervention, its own "
        "predictions are the later steps, and the effect is that on the step after the last",
    )
    window: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="steps that the network needs, and is given, with feedback; null for all"
    )
    tau: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        default="auto",
        description="past steps that are intervened on, with feedback; auto: 95 % of the squared Jacobian",
    )
    attributions: bool = Field(default=True, description="give every row of the job the effects of its own values")

    @field_validator("range")
    @classmethod
    def _ranges_have_width(cls, ranges: Any) -> Any:
        pairs = ranges if isinstance(ranges, dict) else {"": ranges} if isinstance(ranges, tuple) else {}
        for name, pair in pairs.items():
            if name == "quantiles":
                cls._check_quantiles(pair, pairs)
            elif not isinstance(pair, tuple) or not pair[0] < pair[1] or not np.isfinite(pair).all():
                of = f" of {name!r}" if name else ""
                raise ValueError(f"the range{of} must be [low, high] with low < high, such as [0, 1]")
        return ranges

    @staticmethod
    def _check_quantiles(quantiles: Any, pairs: Mapping[str, Any]) -> None:
        low, high = quantiles if isinstance(quantiles, tuple) else (quantiles, 1 - quantiles)
        if len(pairs) > 1 or not 0 <= low < high <= 1:
            raise ValueError(
                "quantiles stands alone, and is a share below one half, such as 0.05, or two rising ones in [0, 1]"
            )

    @field_validator("covariance")
    @classmethod
    def _one_representation(cls, covariance: Any) -> Any:
        if isinstance(covariance, dict):
            retained, probes = covariance.get("retained"), covariance.get("probes")
            if len(covariance) != 1 or not (0 < (retained or 1) <= 1):
                raise ValueError("must be {retained: a share in (0, 1]}, or {probes: how many random directions}")
            if probes is not None and (probes < 2 or probes != int(probes)):
                raise ValueError("probes must be an integer of at least 2, such as 64")
        return covariance

    @model_validator(mode="after")
    def _fitting(self) -> Any:
        if any(first == second for first, second in self.pairs):
            raise ValueError("pairs: a feature cannot be paired with itself")
        if self.pairs and self.feedback != "none":
            raise ValueError("pairs go with feedback: none")
        if self.order != "auto" and self.order > self.alphas - 4:
            raise ValueError(f"order: {self.order} needs alphas of at least {self.order + 4}, not {self.alphas}")
        idle = [
            name
            for name, value in (("window", self.window), ("tau", None if self.tau == "auto" else self.tau))
            if value is not None and self.feedback == "none"
        ]
        if idle:
            raise ValueError(f"{idle[0]} goes with feedback: autoregressive")
        if self.feedback != "none" and self.lengths is not None:
            raise ValueError("lengths: sequences of one length are needed for feedback: autoregressive")
        if self.estimator == "taylor" and self.samples is not None:
            raise ValueError("samples goes with the empirical estimator, not with estimator: taylor")
        return self

    @property
    def quantiles(self) -> tuple[float, float] | None:
        """Shares of the data below the ends of the ranges; None if ranges are no quantiles."""
        quantiles = self.range.get("quantiles") if isinstance(self.range, dict) else None
        if quantiles is None:
            return None
        return (quantiles, 1 - quantiles) if isinstance(quantiles, float) else (quantiles[0], quantiles[1])

    @property
    def spread(self) -> Covariance:
        """How the covariance is represented."""
        if self.covariance == "auto":
            return Covariance()
        probes = self.covariance.get("probes")
        return Covariance(self.covariance.get("retained"), None if probes is None else int(probes))

    @property
    def fixed_order(self) -> int | None:
        """Of the regressors; None if the evidence chooses."""
        return None if self.order == "auto" else self.order

    @property
    def fixed_tau(self) -> int | None:
        """Past steps; None if the Jacobian tells."""
        return None if self.tau == "auto" else self.tau
