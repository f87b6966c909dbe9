"""ViRelAy: a project folder with images, their maps and the names of classes, to browse and analyse."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import yaml

from ..errors import StoreError
from ..registry import EXPORTERS
from .base import Exporter
from .source import Source

__all__ = ["VirelayExporter"]


@EXPORTERS.register("virelay")
class VirelayExporter(Exporter):
    """A project of ViRelAy: `virelay DIR/project.yaml`; CoRelAy adds analyses to `DIR/attributions.h5`.

    `dataset.h5` holds a picture per row, scaled to 0…1 where it is not within that, `attributions.h5` its map
    (channel, height, width), label and prediction.
    The prediction is 1 at the predicted class: a result does not keep the other outputs. Takes one engine, and
    one row per sample.
    """

    suffix = "-virelay"

    def write(self, source: Source, path: Path) -> tuple[str, ...]:
        """The project, its three files, and nothing else."""
        engine = source.engine
        tensor = source.tensor(engine)
        shape = engine.tensors[tensor]
        results, rows = source.results, source.results.rows
        if len(shape) not in (2, 3) or rows.is_regression:
            raise StoreError(
                f"{results.path}: ViRelAy shows classified pictures, (channel, height, width), not {shape}."
            )
        if len(np.unique(rows.sample[source.rows])) < len(source.rows):
            raise StoreError(f"{results.path}: several rows per sample; choose one output by --target.")
        picture = shape if len(shape) == 3 else (1, *shape)
        labels, predicted = rows.label[source.rows], rows.prediction[source.rows]
        labels = np.where(labels >= 0, labels, predicted).astype(np.int64)
        classes = max(len(results.classes), int(max(labels.max(initial=0), predicted.max(initial=0))) + 1)
        path.mkdir()
        low, high = _range(source, tensor)
        with h5py.File(path / "dataset.h5", "w") as data, h5py.File(path / "attributions.h5", "w") as maps:
            full = (len(source.rows), *picture)
            pictures = data.create_dataset("data", full, np.float32)
            attribution = maps.create_dataset("attribution", full, np.float32)
            data["label"] = maps["label"] = labels
            maps["index"] = np.arange(len(labels))
            maps["prediction"] = np.eye(classes, dtype=np.float32)[predicted]
            start = 0
            for block in source.blocks(16 * int(np.prod(picture))):
                values = source.all_inputs(tensor, block)
                where = slice(start, start + len(values))
                pictures[where] = ((values - low) / (high - low)).reshape(-1, *picture)
                attribution[where] = engine.attribution(block, tensor).reshape(-1, *picture)
                start = where.stop
        names = [
            {"index": i, "word_net_id": f"class{i:05}", "name": results.class_name(i)} for i in range(classes)
        ]
        (path / "label-map.json").write_text(json.dumps(names, indent=1), encoding="utf-8")
        (path / "project.yaml").write_text(yaml.safe_dump(_project(source), sort_keys=False), encoding="utf-8")
        return ()


def _range(source: Source, tensor: str) -> tuple[float, float]:
    """Least and greatest value of all pictures; 0 and 1 if all lie between."""
    low, high = 0.0, 1.0
    for rows in source.blocks(8 * int(np.prod(source.engine.tensors[tensor]))):
        values = source.all_inputs(tensor, rows)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    return low, high


def _project(source: Source) -> dict[str, object]:
    job = source.results.job
    model = str(job.get("model", {}).get("factory") or job.get("model", {}).get("name") or "network")
    return {
        "project": {
            "name": source.results.path.stem,
            "model": model,
            "label_map": "label-map.json",
            "dataset": {"name": "samples", "type": "hdf5", "path": "dataset.h5"},
            "attributions": {
                "attribution_method": source.engine.engine,
                "attribution_strategy": "true_label" if job.get("target") == "label" else "predicted_label",
                "sources": ["attributions.h5"],
            },
        }
    }
