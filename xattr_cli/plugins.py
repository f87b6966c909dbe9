"""All that the author of a plugin needs, in one place; what is named here stays where other modules move.

A plugin is a class in an installed package, offered by an entry point: the group `xattr_cli.engines` takes a
`LocalEngine` or `PopulationEngine`, `xattr_cli.models` a `ModelSource`, `xattr_cli.datasets` a `DatasetSource`,
`xattr_cli.baselines` a `Baseline`, `xattr_cli.scores` a `Score`, `xattr_cli.figures` a `FigureKind`,
`xattr_cli.exporters` an `Exporter`, `xattr_cli.metrics` a `Metric`. The fields of the class are its options in the
job file, its docstring is its documentation. Names are imported when they are first asked for; those of models and
scores take torch.

Example:
    >>> from xattr_cli.plugins import LocalEngine, exact
    >>> class Gradient(LocalEngine):
    ...     '''The gradient of the score.'''
    ...
    ...     def explain(self, block):
    ...         scores, gradients = block.gradients(block.inputs[:, None])
    ...         return exact(gradients[:, 0], block.input_scores())
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .baselines.base import Baseline, BoundBaseline, FixedBaseline, explained_specs
    from .datasets.base import DatasetSource, Samples
    from .datasets.classes.labels import as_labels
    from .datasets.columns import ArraySamples, Column
    from .device.scores import Score
    from .engines.base import Effects, Explanation, LocalEngine, PopulationEngine, exact
    from .errors import DataError, JobError, ModelError, StoreError
    from .export.base import Exporter
    from .export.source import Source
    from .fingerprint import fingerprint_arrays, fingerprint_file
    from .job.sections import JobPath
    from .metrics.base import Bench, Measured, Metric
    from .models.base import LoadedModel, ModelSource
    from .registry import BASELINES, DATASETS, ENGINES, EXPORTERS, FIGURES, METRICS, MODELS, SCORES, Options
    from .reports.drawing.figure import FigureKind
    from .reports.drawing.selection import Animation, Document, Drawing, Nothing, Selection
    from .samples import Batch, InputSpec, Status

__all__ = [
    "BASELINES",
    "DATASETS",
    "ENGINES",
    "EXPORTERS",
    "FIGURES",
    "METRICS",
    "MODELS",
    "SCORES",
    "Animation",
    "ArraySamples",
    "Baseline",
    "Batch",
    "Bench",
    "BoundBaseline",
    "Column",
    "DataError",
    "DatasetSource",
    "Document",
    "Drawing",
    "Effects",
    "Explanation",
    "Exporter",
    "FigureKind",
    "FixedBaseline",
    "InputSpec",
    "JobError",
    "JobPath",
    "LoadedModel",
    "LocalEngine",
    "Measured",
    "Metric",
    "ModelError",
    "ModelSource",
    "Nothing",
    "Options",
    "PopulationEngine",
    "Samples",
    "Score",
    "Selection",
    "Source",
    "Status",
    "StoreError",
    "as_labels",
    "exact",
    "explained_specs",
    "fingerprint_arrays",
    "fingerprint_file",
]

_OFFERED_BY = {
    ".baselines.base": "Baseline BoundBaseline FixedBaseline explained_specs",
    ".datasets.base": "DatasetSource Samples",
    ".datasets.classes.labels": "as_labels",
    ".datasets.columns": "ArraySamples Column",
    ".device.scores": "Score",
    ".engines.base": "Effects Explanation LocalEngine PopulationEngine exact",
    ".errors": "DataError JobError ModelError StoreError",
    ".export.base": "Exporter",
    ".export.source": "Source",
    ".fingerprint": "fingerprint_arrays fingerprint_file",
    ".job.sections": "JobPath",
    ".metrics.base": "Bench Measured Metric",
    ".models.base": "LoadedModel ModelSource",
    ".registry": "BASELINES DATASETS ENGINES EXPORTERS FIGURES METRICS MODELS SCORES Options",
    ".reports.drawing.figure": "FigureKind",
    ".reports.drawing.selection": "Animation Document Drawing Nothing Selection",
    ".samples": "Batch InputSpec Status",
}
_HOMES = {name: home for home, names in _OFFERED_BY.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """A name of `__all__`, from where it lives; only models need torch for it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name], __package__), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
