"""How faithful the maps of a result file are: replace what they call important, and watch the score."""

from __future__ import annotations

from .candidates import read_importance
from .evaluate import evaluate_file
from .inquiry import EvaluationOptions, read_metric, read_perturbation
from .outcome import EvaluationOutcome, Measurement, evaluation_summary, write_rows
from .table import evaluation_text

__all__ = [
    "EvaluationOptions",
    "EvaluationOutcome",
    "Measurement",
    "evaluate_file",
    "evaluation_summary",
    "evaluation_text",
    "read_importance",
    "read_metric",
    "read_perturbation",
    "write_rows",
]
