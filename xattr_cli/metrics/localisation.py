"""Localisation: does a map point at the object, whose place is known as a box or a mask?"""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import numpy as np
from pydantic import Field

from ..errors import JobError
from ..registry import METRICS
from .base import Bench, Metric, Setting

__all__ = [
    "AttributionLocalisation",
    "Localisation",
    "PointingGame",
    "RelevanceMassAccuracy",
    "RelevanceRankAccuracy",
    "TopKIntersection",
]

Part = Literal["signed", "magnitude", "positive"]


class Localisation(Metric):
    """What these metrics share; rows of which no mask is known, or an empty one, are left out."""

    family = "localisation"
    higher_is_better = True
    needs_masks = True
    left_out = "a map was quarantined, nothing of it counts, or no object is known there"

    of: Part = Field(
        default="signed",
        description="what of a map counts: its numbers as they are, their magnitudes, or those above zero only",
    )

    def number(self, bench: Bench, name: str) -> np.ndarray:
        """(rows,) in [0, 1], unless signs cancel."""
        masks = bench.masks
        relevance = self.relevance(bench.attributions[name])
        with np.errstate(invalid="ignore", divide="ignore"):
            found = self.found(relevance, masks, np.lexsort((bench.control, -relevance), axis=-1))
        return np.where(masks.any(axis=1) & np.isfinite(relevance).all(axis=1), found, np.nan)

    def relevance(self, maps: np.ndarray) -> np.ndarray:
        """(rows, units) what of the maps counts."""
        if self.of == "signed":
            return maps
        return np.asarray(np.abs(maps) if self.of == "magnitude" else np.maximum(maps, 0.0))

    @abstractmethod
    def found(self, relevance: np.ndarray, masks: np.ndarray, order: np.ndarray) -> np.ndarray:
        """(rows,) how much of the relevance (rows, units) lies in the masks; order: of units, highest first."""


@METRICS.register("pointing_game")
class PointingGame(Localisation):
    """Whether the unit of the highest attribution lies in the mask: 1 or 0; of equal ones, whether any does.

    Reference: Zhang et al. 2018, arXiv 1608.00507.
    """

    def found(self, relevance: np.ndarray, masks: np.ndarray, order: np.ndarray) -> np.ndarray:
        """(rows,) 0 or 1."""
        return np.asarray((masks & (relevance == relevance.max(axis=1, keepdims=True))).any(axis=1).astype(float))


@METRICS.register("attribution_localisation")
class AttributionLocalisation(Localisation):
    """Share of the attribution that lies in the mask, of magnitudes unless said otherwise.

    Reference: Kohlbrenner et al. 2020, arXiv 1910.09840.
    """

    of: Part = Field(default="magnitude", description=Localisation.model_fields["of"].description)

    def found(self, relevance: np.ndarray, masks: np.ndarray, order: np.ndarray) -> np.ndarray:
        """(rows,) Σ_mask a / Σ a."""
        return np.asarray((relevance * masks).sum(axis=1) / relevance.sum(axis=1))


@METRICS.register("relevance_mass_accuracy")
class RelevanceMassAccuracy(AttributionLocalisation):
    """Share of the relevance that lies in the mask; relevance is what is above zero, unless said otherwise.

    Reference: Arras, Osman and Samek 2022, arXiv 2003.07258.
    """

    of: Part = Field(default="positive", description=Localisation.model_fields["of"].description)


@METRICS.register("relevance_rank_accuracy")
class RelevanceRankAccuracy(Localisation):
    """Of as many units of the highest attribution as the mask has, the share that lies in it.

    Reference: Arras, Osman and Samek 2022, arXiv 2003.07258.
    """

    def found(self, relevance: np.ndarray, masks: np.ndarray, order: np.ndarray) -> np.ndarray:
        """(rows,) in [0, 1]."""
        size = masks.sum(axis=1)
        ranked = np.take_along_axis(masks, order, axis=1) & (np.arange(masks.shape[1]) < size[:, None])
        return np.asarray(ranked.sum(axis=1) / size)


@METRICS.register("top_k_intersection")
class TopKIntersection(Localisation):
    """Of the k units of the highest attribution, the share that lies in the mask.

    Reference: Theiner, Müller-Budack and Ewerth 2022, arXiv 2104.14995.
    """

    k: int | None = Field(default=None, ge=1, description="units; null for a tenth of them")

    def fitted(self, setting: Setting) -> Metric:
        """With k settled.

        Raises:
            JobError: there are fewer units.
        """
        super().fitted(setting)
        k = max(1, setting.units.count // 10) if self.k is None else self.k
        if k > setting.units.count:
            raise JobError(f"{self.where}: k: {k}: there are {setting.units.count} units.")
        return self.model_copy(update={"k": k})

    def found(self, relevance: np.ndarray, masks: np.ndarray, order: np.ndarray) -> np.ndarray:
        """(rows,) in [0, 1]."""
        return np.asarray(np.take_along_axis(masks, order[:, : self.k], axis=1).mean(axis=1))
