"""Samples of a dataset as a background: what expected gradients integrate over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, InstanceOf, SerializeAsAny, ValidationInfo, WithJsonSchema

from ..datasets.base import DatasetSource, Samples
from ..datasets.opening import blocks, finite_rows, open_dataset
from ..errors import DataError
from ..job.config import resolve_plugin
from ..randomness import Purpose, dataset_generator
from ..registry import BASELINES, DATASETS, Plugin
from ..samples import Batch, InputSpec
from .base import Baseline, BoundBaseline, FixedBaseline, explained_specs

__all__ = ["DatasetBackground"]


def _resolve(value: Any, info: ValidationInfo) -> Plugin | None:
    return None if value is None else resolve_plugin(DATASETS, value, info.context)


DatasetField = Annotated[
    SerializeAsAny[InstanceOf[DatasetSource]] | None,
    BeforeValidator(_resolve),
    WithJsonSchema({"type": ["object", "null"], "required": [DATASETS.tag]}),
]


@BASELINES.register("samples", "background", "data", "dataset", "train")
class DatasetBackground(Baseline):
    """Random samples, the same for every explained one; for engines that average, or a single one as baseline."""

    count: int = Field(default=64, ge=1, description="number of samples; all, if there are fewer")
    dataset: DatasetField = Field(
        default=None, description="where to draw them, such as the training data; null: the explained dataset"
    )
    labels: tuple[int, ...] = Field(default=(), description="draw only samples of these classes")

    def bind(self, samples: Samples, seed: int, inputs: Sequence[str] | None = None) -> BoundBaseline:
        """Draw the samples and read them.

        Raises:
            DataError: the other dataset does not fit; no sample is finite or has one of the labels.
        """
        specs = explained_specs(samples, inputs)
        if self.dataset is None:
            return _BoundBackground(self._draw(samples, seed, {spec.name: spec for spec in specs}), "")
        with samples.alike(open_dataset(self.dataset)) as source:
            counterparts = _counterparts(source, specs, is_only=len(samples.inputs) == 1)
            return _BoundBackground(self._draw(source, seed, counterparts), source.fingerprint)

    def _draw(self, source: Samples, seed: int, counterparts: Mapping[str, InputSpec]) -> dict[str, np.ndarray]:
        """Explained input → (count, *shape); `counterparts`: input of `source` → explained one."""
        drawn: dict[str, list[np.ndarray]] = {spec.name: [] for spec in counterparts.values()}
        count = 0
        for position in dataset_generator(seed, Purpose.BASELINE).permutation(self._positions(source)).tolist():
            batch = source.read(position, position + 1)
            if not finite_rows(batch)[0]:
                continue
            for name, spec in counterparts.items():
                drawn[spec.name].append(batch.inputs[name][0].astype(spec.dtype))
            count += 1
            if count == self.count:
                break
        if count == 0:
            raise DataError("baseline: samples: no sample of the dataset is free of NaN and infinite values.")
        return {name: np.stack(values) for name, values in drawn.items()}

    def _positions(self, source: Samples) -> np.ndarray:
        if not self.labels:
            return np.arange(len(source))
        found = [
            batch.index[np.isin(batch.labels, self.labels)] for batch in blocks(source) if batch.labels is not None
        ]
        if not found:
            raise DataError("baseline.labels: the dataset has no labels.")
        positions = np.concatenate(found)
        if positions.size == 0:
            raise DataError(f"baseline.labels: no sample has one of the labels {list(self.labels)}.")
        return positions


class _BoundBackground(BoundBaseline):
    def __init__(self, values: Mapping[str, np.ndarray], fingerprint: str) -> None:
        self._values = dict(values)
        self.fingerprint = fingerprint

    def reference(self, batch: Batch) -> dict[str, np.ndarray]:
        if self.is_several:
            count = len(next(iter(self._values.values())))
            raise DataError(
                f"baseline: samples holds {count} samples, not one baseline per row. Draw a single one with "
                "count: 1, use the baseline mean, or average over all with the engine expected_gradients."
            )
        return FixedBaseline({name: values[0] for name, values in self._values.items()}).reference(batch)

    def background(self) -> dict[str, np.ndarray]:
        return dict(self._values)


def _counterparts(source: Samples, specs: Sequence[InputSpec], is_only: bool) -> dict[str, InputSpec]:
    """Input of `source` → explained input: of the same name, or the only one of each."""
    shapes = {spec.name: spec.shape for spec in source.inputs}
    pairs = {spec.name: spec for spec in specs}
    if is_only and len(shapes) == 1:
        pairs = {next(iter(shapes)): specs[0]}
    for name, spec in pairs.items():
        if shapes.get(name) != spec.shape:
            raise DataError(
                f"baseline.dataset: input {name!r} has shape {shapes.get(name, 'none')}, "
                f"but {spec.shape} in the explained dataset."
            )
    return pairs
