"""Metrics of maps: faithfulness, robustness, localisation, complexity, randomisation, axioms."""

from __future__ import annotations

from .axioms import Completeness, InputInvariance, NonSensitivity
from .base import CONTROL, Again, Bench, Measured, Metric, Setting, Stream
from .complexity import Complexity, EffectiveComplexity, Sparseness
from .curves import Deletion, Insertion, Irof, Pgi, Pgu, Road
from .localisation import (
    AttributionLocalisation,
    PointingGame,
    RelevanceMassAccuracy,
    RelevanceRankAccuracy,
    TopKIntersection,
)
from .randomisation import Emprt, Mprt, RandomLogit
from .robustness import AvgSensitivity, LocalLipschitz, MaxSensitivity
from .subsets import FaithfulnessCorrelation, FaithfulnessEstimate, Infidelity, SensitivityN
from .sufficiency import Sufficiency

__all__ = [
    "CONTROL",
    "Again",
    "AttributionLocalisation",
    "AvgSensitivity",
    "Bench",
    "Completeness",
    "Complexity",
    "Deletion",
    "EffectiveComplexity",
    "Emprt",
    "FaithfulnessCorrelation",
    "FaithfulnessEstimate",
    "Infidelity",
    "InputInvariance",
    "Insertion",
    "Irof",
    "LocalLipschitz",
    "MaxSensitivity",
    "Measured",
    "Metric",
    "Mprt",
    "NonSensitivity",
    "Pgi",
    "Pgu",
    "PointingGame",
    "RandomLogit",
    "RelevanceMassAccuracy",
    "RelevanceRankAccuracy",
    "Road",
    "SensitivityN",
    "Setting",
    "Sparseness",
    "Stream",
    "Sufficiency",
    "TopKIntersection",
]
