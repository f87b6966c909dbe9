"""Where the objects are that a map should find: masks or boxes, beside the data or among their columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..datasets import Samples
from ..datasets.array_files import open_array_file
from ..errors import DataError, JobError
from ..numerics.faithfulness.units import Units
from ..samples import InputSpec
from ..untrusted.files import read_text

__all__ = ["Masks", "read_masks"]

ARRAYS = (".npz", ".npy", ".h5", ".hdf5")
BOX, SPAN = ("left", "top", "right", "bottom"), ("start", "stop")
_SHOWN = 3


@dataclass(frozen=True)
class Masks:
    """Masks of samples, each made when it is asked for.

    Attributes:
        source: what an error begins with.
        found: a sample's key, or its number as text -> its mask, (*shape) bool of the explained input, or less its
            channels, or (units,).
        spec: of the explained input.
        units: what is ranked.
    """

    source: str
    found: Callable[[str], np.ndarray | None]
    spec: InputSpec
    units: Units

    def of(self, samples: np.ndarray, keys: tuple[str, ...]) -> np.ndarray:
        """(rows, units) bool; nothing in rows of which no mask is known.

        Arguments:
            samples: (rows,) int64.
            keys: a name per row; empty if the dataset has none.

        Raises:
            JobError: a mask of another shape.
        """
        masks = np.zeros((len(samples), self.units.count), dtype=bool)
        for row, sample in enumerate(samples.tolist()):
            mask = self.found(keys[row]) if keys else None
            mask = self.found(str(sample)) if mask is None else mask
            if mask is not None:
                masks[row] = self._of_units(np.asarray(mask))
        return masks

    def _of_units(self, mask: np.ndarray) -> np.ndarray:
        """(units,) whether any number of a unit is in the mask."""
        shape, axes = self.spec.shape, self.spec.axes
        joined = [axis for axis in ("channel", "feature", "embedding") if axis in axes and len(shape) > 1]
        without = [np.delete(shape, axes.index(axis)) for axis in joined]
        chosen = mask.astype(bool)
        if mask.shape == (self.units.count,):
            return chosen
        for axis, rest in zip(joined, without, strict=True):
            if mask.shape == tuple(rest):
                chosen = np.broadcast_to(np.expand_dims(chosen, axes.index(axis)), shape)
        if chosen.shape != shape:
            allowed = " or ".join(map(str, [shape, *(tuple(map(int, rest)) for rest in without)]))
            raise JobError(f"{self.source}: a mask has shape {mask.shape}; {allowed} is needed.")
        marked = np.zeros(self.units.count, dtype=bool)
        marked[self.units.of[chosen.reshape(-1)]] = True
        return marked


def read_masks(text: str, folder: Path, samples: Samples, specs: tuple[InputSpec, ...], units: Units) -> Masks:
    """The masks that `--masks` names.

    Arguments:
        text: a file, or a column of the dataset that is no input. Arrays (.npz, .npy, .h5) hold `masks`, one per
            sample, or `boxes` (n, 4) or (n, k, 4), each with `id` beside it or in the order of the dataset; or
            an array per sample under its id. A .csv has a line per box: id, left, top, right, bottom in pixels of
            what the network sees, right and bottom exclusive; or id, start, stop along the first axis of other
            inputs. An id is the key of a sample, such as its file name, or its number.
        folder: where relative paths start.
        samples: the dataset.
        specs, units: of the explained inputs.

    Raises:
        JobError: no such file or column; not of that form; several inputs are explained.
    """
    source = f"--masks {text}"
    if len(specs) != 1:
        raise JobError(f"{source}: masks are of one explained input; there are {len(specs)}.")
    path = folder / text
    if path.suffix.lower() == ".csv":
        objects = _boxes_of(path, source, specs[0])
    elif path.suffix.lower() in ARRAYS:
        objects = _arrays_of(path, source, specs[0])
    else:
        objects = _column_of(samples, text, source, specs[0])
    return Masks(source, objects, specs[0], units)


def _arrays_of(path: Path, source: str, spec: InputSpec) -> Callable[[str], np.ndarray | None]:
    file = open_array_file(path, source)
    try:
        names = file.names()
        usual = names[:1] if path.suffix.lower() == ".npy" else ["masks", "boxes"]
        known = next((name for name in usual if name in names), None)
        if known is None:
            return {name: np.array(file.array(name, source)[:]) for name in names if name != "id"}.get
        values = np.array(file.array(known, source)[:])
        ids = np.array(file.array("id", source)[:]) if "id" in names else np.arange(len(values))
    finally:
        file.close()
    if len(ids) != len(values):
        raise JobError(f"{source}: {len(ids)} ids for {len(values)} {known}.")
    texts = [each.decode() if isinstance(each, bytes) else str(each) for each in ids.tolist()]
    return _by_id(dict(zip(texts, values, strict=True)), spec, boxes=known == "boxes")


def _column_of(samples: Samples, name: str, source: str, spec: InputSpec) -> Callable[[str], np.ndarray | None]:
    try:
        values = samples.column(name)
    except DataError as error:
        raise JobError(
            f"{source}: is no file of masks ({', '.join(ARRAYS)}) or boxes (.csv), nor a column: {error}"
        ) from error
    places = samples.read(0, 1).index[:1]  # numbers of samples, where a dataset does not begin at 0
    first = int(places[0]) if len(places) else 0
    boxes = values.shape[-1] == len(BOX) and values.shape[1:] != spec.shape and _is_image(spec)
    return _by_id({str(first + i): each for i, each in enumerate(values)}, spec, boxes=boxes)


def _by_id(
    values: Mapping[str, np.ndarray], spec: InputSpec, *, boxes: bool
) -> Callable[[str], np.ndarray | None]:
    if not boxes:
        return values.get
    return lambda name: _drawn(np.atleast_2d(values[name]), spec) if name in values else None


def _boxes_of(path: Path, source: str, spec: InputSpec) -> Callable[[str], np.ndarray | None]:
    rows = list(csv.DictReader(io.StringIO(read_text(path, source, JobError))))
    heads = tuple(rows[0]) if rows else ()
    columns = BOX if _is_image(spec) else SPAN
    missing = [head for head in ("id", *columns) if head not in heads]
    if missing:
        raise JobError(
            f"{source}: has the columns {', '.join(heads) or 'none'}; id, {', '.join(columns)} are needed here."
        )
    boxes: dict[str, list[list[float]]] = {}
    for number, row in enumerate(rows, start=2):
        try:
            boxes.setdefault(row["id"], []).append([float(row[column]) for column in columns])
        except (TypeError, ValueError) as error:
            raise JobError(f"{source}: line {number}: {error}; numbers are needed.") from error
    return lambda name: _drawn(np.array(boxes[name]), spec) if name in boxes else None


def _drawn(boxes: np.ndarray, spec: InputSpec) -> np.ndarray:
    """(height, width) or (steps,) bool, whether a place lies in one of the boxes (k, 4) or spans (k, 2)."""
    if boxes.shape[1] == len(SPAN):
        place = np.arange(spec.shape[0])
        inside = [(place >= start) & (place < stop) for start, stop in boxes]
        mask = np.any(inside, axis=0)
        return np.asarray(np.broadcast_to(mask.reshape(-1, *[1] * (len(spec.shape) - 1)), spec.shape))
    down, across = np.indices(spec.shape[-2:])
    inside = [
        (across >= left) & (across < right) & (down >= top) & (down < bottom) for left, top, right, bottom in boxes
    ]
    return np.asarray(np.any(inside, axis=0))


def _is_image(spec: InputSpec) -> bool:
    return spec.axes[-2:] == ("height", "width")
