"""Attribution of new samples by the causal regressors of a result file, without model and dataset."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from ..errors import JobError, ResultError, suggestion
from ..numerics.interventions.attribution import ARRAYS, REGRESSOR, CausalAttribution, SampleEffects
from ..store import ResultColumn
from ..store.columns import write_attributes, write_column
from ..store.durable import durable_file, durable_hdf5
from ..store.results.effects import EffectResults
from ..store.results.reader import Results
from .samples import NewSamples, SampleLayout, read_samples

__all__ = ["Applied", "apply_effects", "write_csv", "write_hdf5"]

ENGINE = "ace"
SAMPLES_AT_A_TIME = 1024


@dataclass(frozen=True)
class Applied:
    """The regressors of a study, and the samples that they are applied to.

    Attributes:
        source: the result file and the file of samples, as texts.
        attribution: regressors and interventions.
        features: (features,) names of features and groups.
        targets: (k,) positions, among those studied, of the targets.
        target_names: (k,) their names.
        rows: the samples.
        counted: (n, features) bool, False where a feature is padding.
    """

    source: tuple[str, str]
    attribution: CausalAttribution
    features: tuple[str, ...]
    targets: np.ndarray
    target_names: tuple[str, ...]
    rows: NewSamples
    counted: np.ndarray

    @property
    def outside(self) -> dict[str, int]:
        """Feature -> how many samples have a value outside of what was studied; none if 0."""
        effects = self.attribution.effects(self.rows.points, np.zeros(len(self.rows.points), np.int64))
        counts = (effects.outside & self.counted).sum(axis=0)
        return {name: int(count) for name, count in zip(self.features, counts, strict=True) if count}

    def blocks(self) -> Iterator[tuple[slice, list[SampleEffects]]]:
        """Up to 1024 samples, and their effects on each target."""
        points = self.rows.points
        for start in range(0, len(points), SAMPLES_AT_A_TIME):
            part = slice(start, min(start + SAMPLES_AT_A_TIME, len(points)))
            yield part, [self._effects(part, target) for target in self.targets]

    def _effects(self, part: slice, target: int) -> SampleEffects:
        points, here = self.rows.points[part], self.counted[part]
        effects = self.attribution.effects(points, np.full(len(points), target))
        effect, deviation, error = (
            np.where(here, values, 0.0) for values in (effects.effect, effects.deviation, effects.error)
        )
        return SampleEffects(effect, deviation, error, effects.outside & here)


def apply_effects(
    results: Results,
    samples: Path,
    *,
    engine: str | None = None,
    targets: Sequence[str] = (),
    original_units: bool = True,
) -> Applied:
    """Read the regressors of a result file, and the samples.

    Arguments:
        results: an open file.
        samples: .csv, .npy, .npz or HDF5.
        engine: label; None for the only one that studied average causal effects.
        targets: names or numbers of outputs; empty for all that were studied.
        original_units: the samples have the dataset's units, not those of the network.

    Raises:
        ResultError: the file has no such study.
        JobError: there is no such engine or target.
        DataError: the samples do not fit.
    """
    effects = _engine(results, engine)
    names = effects.texts("features")
    needed = [name for name in effects.names if name in ARRAYS or name.startswith(REGRESSOR)]
    attribution = CausalAttribution.load(names, {name: effects.values(name) for name in needed})
    chosen = _targets(effects, targets)
    rows = read_samples(samples, _layout(effects), original_units=original_units)
    members = [attribution.interventions.one(k).members for k in range(len(names))]
    return Applied(
        source=(str(results.path), str(samples)),
        attribution=attribution,
        features=names,
        targets=chosen,
        target_names=tuple(effects.target_names[position] for position in chosen),
        rows=rows,
        counted=np.stack([rows.present[:, places].all(axis=1) for places in members], axis=1),
    )


def _engine(results: Results, label: str | None) -> EffectResults:
    studies = {name: candidate for name, candidate in results.effects.items() if candidate.engine == ENGINE}
    if not studies:
        raise ResultError(
            f"{results.path}: holds no average causal effects; run a job with the engine {ENGINE!r} first."
        )
    if label is None and len(studies) > 1:
        raise JobError(f"{results.path}: which of the engines {', '.join(studies)}? Name one with --engine.")
    if label is not None and label not in studies:
        raise JobError(f"{results.path}: no average causal effects under {label!r}.{suggestion(label, studies)}")
    return studies[label or next(iter(studies))]


def _targets(effects: EffectResults, wanted: Sequence[str]) -> np.ndarray:
    """Positions among the studied targets, by name or by number of the output."""
    names, numbers = effects.target_names, [str(number) for number in effects.targets]
    if not wanted:
        return np.arange(len(names))
    places = []
    for one in wanted:
        if one not in names and one not in numbers:
            raise JobError(f"--target {one!r}: was not studied.{suggestion(one, [*names, *numbers])}")
        places.append(names.index(one) if one in names else numbers.index(one))
    return np.array(places)


def _layout(effects: EffectResults) -> SampleLayout:
    shapes = (text.rsplit("=", 1) for text in effects.texts("layout/inputs"))
    return SampleLayout(
        names=effects.texts("layout/names"),
        inputs={name: tuple(int(n) for n in shape.split("x") if n) for name, shape in shapes},
        offset=effects.values("units/offset"),
        scale=effects.values("units/scale"),
        lengths=next(iter(effects.texts("layout/lengths")), None),
    )


# --- writing --------------------------------------------------------------------------------------


def write_csv(applied: Applied, path: Path | None) -> None:
    """A line per sample and target: the effect of every feature, their relative error, what is outside.

    Arguments:
        applied: what to write.
        path: of the table; None for standard output.

    Raises:
        StoreError: it cannot be written.
    """
    with _text(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["sample", "target", *applied.features, "relative_error", "outside"])
        for part, per_target in applied.blocks():
            errors = [one.relative_error for one in per_target]
            for row in range(part.stop - part.start):
                for name, one, error in zip(applied.target_names, per_target, errors, strict=True):
                    outside = [applied.features[k] for k in np.flatnonzero(one.outside[row])]
                    effects = [f"{value:.9g}" for value in one.effect[row]]
                    table.writerow([part.start + row, name, *effects, f"{error[row]:.3g}", ";".join(outside)])


@contextmanager
def _text(path: Path | None) -> Iterator[IO[str]]:
    if path is None:
        yield sys.stdout
        return
    with durable_file(path) as descriptor, open(descriptor, "w", encoding="utf-8", closefd=False) as file:
        yield file


def write_hdf5(applied: Applied, path: Path) -> None:
    """Arrays: effect, deviation, error and outside, each (samples, targets, features), and the names.

    Raises:
        StoreError: it cannot be written.
    """
    shape = (len(applied.rows.points), len(applied.targets), len(applied.features))
    arrays = {name: np.empty(shape) for name in ("effect", "deviation", "error")}
    arrays["outside"] = np.empty(shape, np.int8)
    for part, per_target in applied.blocks():
        for position, effects in enumerate(per_target):
            for name, values in vars(effects).items():
                arrays[name][part, position] = values
    axes = ("sample", "target", "feature")
    with durable_hdf5(path) as writer:
        for name, values in arrays.items():
            write_column(writer.file, name, ResultColumn(values, axis="single", axes=axes), None)
        for name, texts in (("features", applied.features), ("targets", applied.target_names)):
            write_column(writer.file, name, ResultColumn(np.array(texts, dtype=object), axis="single"), None)
        about = dict(zip(("effects_of", "samples"), applied.source, strict=True))
        write_attributes(writer.file, {"format": "xattr-cli/effects-of-samples/1", **about})
