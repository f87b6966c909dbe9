"""What is asked about the maps of a file: which metrics, of which engines, with what in place of a feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from ..baselines import Baseline, Zero
from ..errors import JobError
from ..job.config import resolve_plugin
from ..job.validation import describe
from ..numerics.faithfulness.metrics import SENSITIVITY, check_metric
from ..registry import BASELINES
from ..untrusted.yaml_text import parse_yaml

__all__ = ["EvaluationOptions", "read_perturbation"]


@dataclass(frozen=True)
class EvaluationOptions:
    """What is asked about the maps of a file.

    Attributes:
        metrics: names, of `numerics.faithfulness.metrics.METRICS`.
        engines: labels, or LABEL/VALUE for another array of a population engine than its importances; None
            for all engines that rank features.
        averages: also evaluate the mean |map| of every engine, as an index for all rows of a target.
        importances: indices made elsewhere: name -> (D,), or (D, outputs), of the flat features.
        perturbation: what takes the place of a replaced feature.
        unit: what is replaced as one: auto, feature, pixel or step.
        steps: the most points of a curve beyond its beginning.
        draws: how many members of a background take turns as the replacement; other kinds are one each.
        sizes: n of sensitivity-n; empty for a quarter of the units.
        subsets: random subsets per row of sensitivity-n.
        limit: evaluate only so many rows, spread evenly over the file; None for all.
        changed: go on although model or data are no longer those that the file was computed from.

    Raises:
        JobError: an unknown metric, or a number below 1.
    """

    metrics: tuple[str, ...]
    engines: tuple[str, ...] | None = None
    averages: bool = False
    importances: Mapping[str, np.ndarray] = field(default_factory=dict)
    perturbation: Baseline = field(default_factory=Zero)
    unit: str = "auto"
    steps: int = 32
    draws: int = 8
    sizes: tuple[int, ...] = ()
    subsets: int = 100
    limit: int | None = None
    changed: bool = False

    def __post_init__(self) -> None:
        if not self.metrics:
            raise JobError("no metric is named; give at least one.")
        for name in self.metrics:
            check_metric(name)
        for option in fields(self):
            value = getattr(self, option.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and not isinstance(number, bool) and number < 1:
                    raise JobError(f"{option.name}: {number} is less than 1.")
        if self.sizes and SENSITIVITY not in self.metrics:
            raise JobError(f"the size of subsets (--n) goes with the metric {SENSITIVITY} only.")


def read_perturbation(text: str, folder: Path) -> Baseline:
    """The baseline that stands for a replaced feature.

    Arguments:
        text: a kind, such as `zero` or `samples`, or YAML with its options: `{kind: blur, sigma: 2}`.
        folder: where relative paths start.

    Raises:
        JobError: not a baseline; names the kinds there are, or the wrong option.
    """
    value = parse_yaml(text, f"--perturbation {text!r}:", JobError)
    try:
        found = resolve_plugin(BASELINES, value, {"folder": folder})
    except ValidationError as error:
        given = {BASELINES.tag: value} if isinstance(value, str) else value
        raise JobError(f"--perturbation {text!r}: {describe(error, given)}") from error
    except ValueError as error:
        raise JobError(f"--perturbation {text!r}: {error}") from error
    if not isinstance(found, Baseline):
        raise JobError(f"--perturbation {text!r}: is no baseline.")
    return found
