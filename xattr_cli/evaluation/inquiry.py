"""What is asked about the maps of a file: which metrics, of which engines, with what in place of a feature."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ..baselines import Baseline, Zero
from ..errors import JobError
from ..job.config import resolve_plugin
from ..job.validation import describe
from ..metrics import Metric
from ..registry import BASELINES, METRICS, Plugin, Registry
from ..untrusted.yaml_text import parse_yaml

__all__ = ["EvaluationOptions", "asked_metrics", "read_metric", "read_perturbation"]


@dataclass(frozen=True)
class EvaluationOptions:
    """What is asked about the maps of a file.

    Attributes:
        metrics: names, or mappings with the key `kind` and options; or ready ones.
        engines: labels, or LABEL/VALUE for another array of a population engine than its importances; None
            for all engines that rank features.
        averages: also evaluate the mean |map| of every engine, as an index for all rows of a target.
        importances: indices made elsewhere: name -> (D,), or (D, outputs), of the flat features.
        perturbation: what takes the place of a replaced feature.
        unit: what is replaced as one: auto, feature, pixel or step.
        steps: the most points of a curve beyond its beginning, of metrics that have such an option.
        draws: how many members of a background take turns as the replacement; other kinds are one each.
        sizes: n of metrics of subsets, such as sensitivity-n; empty for a quarter of the units.
        subsets: random subsets per row of these.
        masks: where the objects are, for metrics of localisation, as `masks.read_masks` takes it.
        folder: where its relative path starts.
        limit: evaluate only so many rows, spread evenly over the file; None for all.
        changed: go on although model or data are no longer those that the file was computed from.

    Raises:
        JobError: an unknown metric, a wrong option of one, or a number below 1.
    """

    metrics: tuple[str | Mapping[str, Any] | Metric, ...]
    engines: tuple[str, ...] | None = None
    averages: bool = False
    importances: Mapping[str, np.ndarray] = field(default_factory=dict)
    perturbation: Baseline = field(default_factory=Zero)
    unit: str = "auto"
    steps: int | None = None
    draws: int = 8
    sizes: tuple[int, ...] = ()
    subsets: int | None = None
    masks: str | None = None
    folder: Path = field(default_factory=Path.cwd)
    limit: int | None = None
    changed: bool = False

    def __post_init__(self) -> None:
        if not self.metrics:
            raise JobError("no metric is named; give at least one.")
        for option in fields(self):
            value = getattr(self, option.name)
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and not isinstance(number, bool) and number < 1:
                    raise JobError(f"{option.name}: {number} is less than 1.")
        asked = asked_metrics(self)
        if self.sizes and not any("n" in type(metric).model_fields for metric in asked):
            raise JobError(
                "the size of subsets (--n) goes with metrics of subsets only: sensitivity_n, "
                "faithfulness_correlation, infidelity."
            )


def asked_metrics(inquiry: EvaluationOptions) -> list[Metric]:
    """The metrics, each once, and one for every n where there are several.

    What is asked for all of them goes to those that have such an option, unless theirs is given by itself.

    Raises:
        JobError: an unknown one, or a wrong option; says what is allowed.
    """
    common = {"steps": inquiry.steps, "subsets": inquiry.subsets}
    common = {key: value for key, value in common.items() if value is not None}
    metrics: list[Metric] = []
    for asked in inquiry.metrics:
        metric = asked if isinstance(asked, Metric) else _metric(asked)
        fields = type(metric).model_fields
        shared = {k: v for k, v in common.items() if k in fields and k not in metric.model_fields_set}
        sizes = inquiry.sizes if "n" in fields and "n" not in metric.model_fields_set else ()
        for size in sizes or (None,):
            more = shared if size is None else {**shared, "n": size}
            options = {name: getattr(metric, name) for name in metric.model_fields_set}
            metrics.append(_metric({METRICS.tag: metric.registered_name, **options, **more}))
    return list({metric.model_dump_json(): metric for metric in metrics}.values())


def _metric(asked: str | Mapping[str, Any]) -> Metric:
    name = asked if isinstance(asked, str) else asked.get(METRICS.tag, "")
    metric = _resolved(METRICS, asked, f"--metric {name!r}:" if name else "--metric:", {})
    if not isinstance(metric, Metric):
        raise JobError(f"--metric {name!r}: is no metric.")
    return metric


def read_metric(text: str) -> str | Mapping[str, Any]:
    """A metric as the command line has it: a name, or YAML with its options, `{kind: road, noise: 0.1}`.

    Raises:
        JobError: neither.
    """
    if not text.lstrip().startswith("{"):
        return text
    content = parse_yaml(text, f"--metric {text!r}:", JobError)
    if not isinstance(content, Mapping):
        raise JobError(f"--metric {text!r}: must be a name, or look like {{kind: NAME, OPTION: VALUE}}.")
    return content


def read_perturbation(text: str, folder: Path) -> Baseline:
    """The baseline that stands for a replaced feature.

    Arguments:
        text: a kind, such as `zero` or `samples`, or YAML with its options: `{kind: blur, sigma: 2}`.
        folder: where relative paths start.

    Raises:
        JobError: not a baseline; names the kinds there are, or the wrong option.
    """
    value = parse_yaml(text, f"--perturbation {text!r}:", JobError)
    baseline = _resolved(BASELINES, value, f"--perturbation {text!r}:", {"folder": folder})
    if not isinstance(baseline, Baseline):
        raise JobError(f"--perturbation {text!r}: is no baseline.")
    return baseline


def _resolved(registry: Registry[Any], value: Any, where: str, context: dict[str, Any]) -> Plugin:
    try:
        return resolve_plugin(registry, value, context)
    except ValidationError as error:
        options = {registry.tag: value} if isinstance(value, str) else value
        raise JobError(f"{where} {describe(error, options)}") from error
    except ValueError as error:
        raise JobError(f"{where} {error}") from error
