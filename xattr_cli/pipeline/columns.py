"""From explanations to the columns of a result file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from ..engines.base import Engine, Explanation
from ..errors import RunError
from ..job.sections import Explain, Reduction
from ..samples import Batch, InputSpec, Layout, Status
from ..store import ResultColumn
from .session import RowTable

__all__ = [
    "ColumnBuffer",
    "engine_attributes",
    "engine_columns",
    "input_columns",
    "map_attributes",
    "reduce_map",
    "reduced_axes",
    "row_columns",
]

RESERVED = frozenset(
    "attribution reduced score_input score_baseline completeness_gap relative_error evaluations status".split()
)
"""Names that every engine's group has."""

WHOLE_MAPS = Explain()


def row_columns(table: RowTable) -> dict[str, ResultColumn]:
    """What the rows of a part are."""
    batch = table.batch
    more = {}
    if batch.several is not None:
        more["rows/labels"] = ResultColumn(batch.several[table.position], axes=("row", "output"))
    if batch.keys:
        keys = np.array([batch.keys[i] for i in table.position], dtype=object)
        more["rows/key"] = ResultColumn(keys, axes=("row",))
    if table.output is not None:
        more["rows/output"] = ResultColumn(table.output, axes=("row",))
    return {
        f"rows/{name}": ResultColumn(getattr(table, name), axes=("row",))
        for name in ("id", "sample", "label", "target", "prediction")
    } | more


def input_columns(
    specs: Sequence[InputSpec],
    layout: Layout,
    classes: Sequence[str],
    targets: Sequence[str],
    table: RowTable,
    stored: np.ndarray,
) -> dict[str, ResultColumn]:
    """Inputs kept for plots, and the names that go with them.

    Arguments:
        specs: the inputs to keep.
        layout: the explained tensors; the names of their steps are kept.
        classes: names of the outputs.
        targets: names of what can be explained, where they are others than those of the classes.
        table: rows of the part.
        stored: positions in the table's batch of the samples to keep.
    """
    batch = table.batch
    explained = np.array([spec.name for spec in layout.specs], dtype=object)
    columns = {
        "explained": ResultColumn(explained, axis="constant"),
        "samples/index": ResultColumn(batch.index[stored], axis="samples", axes=("sample",)),
    }
    if batch.keys:
        keys = np.array([batch.keys[i] for i in stored], dtype=object)
        columns["samples/key"] = ResultColumn(keys, axis="samples", axes=("sample",))
    for name, texts in batch.texts.items():
        chosen = np.array([texts[i] for i in stored], dtype=object)
        columns[f"samples/texts/{name}"] = ResultColumn(chosen, axis="samples", axes=("sample",))
    if classes:
        columns["classes"] = ResultColumn(np.array(classes, dtype=object), axis="constant")
    if targets:
        columns["targets"] = ResultColumn(np.array(targets, dtype=object), axis="constant")
    for spec in layout.specs:
        columns |= _step_columns(spec, batch, stored)
    for spec in specs:
        at = f"inputs/{spec.name}"
        values = batch.inputs[spec.name][stored]
        columns[f"{at}/values"] = ResultColumn(values, axis="samples", axes=("sample", *_axes(spec)))
        if spec.categories:
            columns[f"{at}/categories"] = ResultColumn(np.array(spec.categories, dtype=object), axis="constant")
        if spec.features:
            columns[f"{at}/features"] = ResultColumn(np.array(spec.features, dtype=object), axis="constant")
        for name, numbers in (("offset", spec.offset), ("scale", spec.scale)):
            if numbers is not None:
                values = np.asarray(numbers)
                columns[f"{at}/{name}"] = ResultColumn(values, axis="constant", axes=_scaled_axes(values, spec))
    return columns


def _scaled_axes(numbers: np.ndarray, spec: InputSpec) -> tuple[str, ...]:
    """Label of the axis that numbers per channel or per feature go along; none for a single number."""
    if numbers.ndim != 1:
        return ()
    per_channel = len(spec.shape) == 3 and len(numbers) == spec.shape[0]
    return (_axes(spec)[0 if per_channel else -1],)


def _step_columns(spec: InputSpec, batch: Batch, stored: np.ndarray) -> dict[str, ResultColumn]:
    """Which steps of an explained tensor are real, and what they are called."""
    columns = {}
    for name, values in (("real", batch.real), ("tokens", batch.tokens)):
        if spec.sequence in values:
            columns[f"inputs/{spec.name}/{name}"] = ResultColumn(
                values[spec.sequence][stored], axis="samples", axes=("sample", *_axes(spec)[:1])
            )
    return columns


def engine_attributes(engine: Engine) -> dict[str, str]:
    """Attributes of an engine's group: its name and its options."""
    options = engine.model_dump(mode="json")
    options.pop(engine.tag)
    return {"engine": engine.registered_name, "options": yaml.safe_dump(options, sort_keys=False)}


def map_attributes(explain: Explain) -> dict[str, str]:
    """Attributes of an engine's group that tell how its maps are reduced; none if they are not."""
    way = explain.reduction
    return {} if way == "none" else {"reduction": way, "store": explain.store}


def engine_columns(
    label: str, explanation: Explanation, layout: Layout, table: RowTable, explain: Explain = WHOLE_MAPS
) -> dict[str, ResultColumn]:
    """What an engine says about the rows of a part, with what every engine's rows have in common.

    Rows whose input, score or map is not finite are quarantined, whatever the engine makes of them.
    Maps over embeddings, features or channels are reduced as the job asks: `reduced` stands beside
    `attribution`, or `attribution` and every other map are the reduced ones. A standard error that is
    reduced so bounds that of the reduced map from above.

    Raises:
        RunError: the engine returned something of the wrong shape, or under a name that is taken.
    """
    _check_shapes(label, explanation, layout, len(table.id))
    _check_names(label, explanation)
    at = f"engines/{label}"
    status = _status(explanation, table.finite)
    bad = status == Status.QUARANTINED
    way = explain.reduction if explain.store == "reduced" else "none"
    columns = dict(_map_columns(f"{at}/attribution", explanation.attribution, (), layout, bad, way))
    if explain.reduction != way and any(map(reduced_axes, layout.specs)):
        columns |= dict(_map_columns(f"{at}/reduced", explanation.attribution, (), layout, bad, explain.reduction))
    for name, values in explanation.maps.items():
        columns |= dict(_map_columns(f"{at}/{name}", values, explanation.axes.get(name, ()), layout, bad, way))
    for name, values in explanation.curves.items():
        columns[f"{at}/{name}"] = ResultColumn(_numpy(values), axes=("row", *explanation.axes.get(name, ())))
    for name, values in _common(explanation, status).items():
        columns[f"{at}/{name}"] = ResultColumn(_numpy(values), axes=("row",))
    for name, constant in explanation.constants.items():
        array = np.array(constant, dtype=object) if isinstance(constant, tuple) else constant
        columns[f"{at}/{name}"] = ResultColumn(array, axis="constant")
    return columns


def _common(explanation: Explanation, status: Tensor) -> dict[str, Tensor]:
    score = explanation.score_input.double()
    unknown = torch.full_like(score, torch.nan)
    baseline = unknown if explanation.score_baseline is None else explanation.score_baseline.double()
    total = explanation.attribution.double().sum(dim=1)
    error = explanation.relative_error.double()
    return {
        "score_input": score,
        "score_baseline": baseline,
        "completeness_gap": total - (score - baseline),
        "relative_error": torch.where(status == Status.QUARANTINED, unknown, error),
        "evaluations": explanation.evaluations.long(),
        "status": status,
    }


def _status(explanation: Explanation, finite_input: np.ndarray) -> Tensor:
    finite = torch.isfinite(explanation.attribution).all(dim=1)
    finite &= torch.isfinite(explanation.score_input)
    finite &= torch.from_numpy(finite_input).to(finite.device)
    judged = explanation.status
    status = torch.zeros(len(finite), dtype=torch.int8, device=finite.device) if judged is None else judged
    return torch.where(finite, status, Status.QUARANTINED).to(torch.int8)


def _map_columns(
    at: str, values: Tensor, axes: tuple[str, ...], layout: Layout, bad: Tensor, way: Reduction
) -> Iterator[tuple[str, ResultColumn]]:
    """Flat maps in the shape of the inputs: one dataset, or one per tensor if several are explained."""
    clean = values.masked_fill(bad.view(-1, *[1] * (values.ndim - 1)), torch.nan)
    for spec in layout.specs:
        name = at if len(layout.specs) == 1 else f"{at}/{spec.name}"
        reduced, labels = reduce_map(layout.split(clean)[spec.name], spec, _axes(spec), way)
        yield name, ResultColumn(_numpy(reduced), axes=("row", *axes, *labels))


def _axes(spec: InputSpec) -> tuple[str, ...]:
    if len(spec.axes) == len(spec.shape):
        return spec.axes
    return ("feature",) if len(spec.shape) == 1 else tuple(f"axis{i}" for i in range(len(spec.shape)))


def _check_names(label: str, explanation: Explanation) -> None:
    names = [*explanation.maps, *explanation.curves, *explanation.constants]
    taken = sorted({name for name in names if name in RESERVED or names.count(name) > 1})
    if taken:
        raise RunError(
            f"engine {label!r} returned {taken[0]!r} twice, or among its extra values although every engine "
            "has it; give the extra values names of their own."
        )


def _check_shapes(label: str, explanation: Explanation, layout: Layout, rows: int) -> None:
    expected_shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "attribution": (explanation.attribution, (rows, layout.size)),
        "relative_error": (explanation.relative_error, (rows,)),
        "evaluations": (explanation.evaluations, (rows,)),
        "score_input": (explanation.score_input, (rows,)),
    }
    for name, (tensor, shape) in expected_shapes.items():
        if tuple(tensor.shape) != shape:
            raise RunError(f"engine {label!r} returned {name} of shape {tuple(tensor.shape)}, not {shape}.")
    extras: Mapping[str, Tensor] = {**explanation.maps, **explanation.curves}
    for name, tensor in extras.items():
        mapped = name in explanation.maps
        if len(tensor) != rows or (mapped and tensor.shape[-1] != layout.size):
            expected = f"({rows}, ..., {layout.size})" if mapped else f"({rows}, ...)"
            raise RunError(f"engine {label!r} returned {name} of shape {tuple(tensor.shape)}, not {expected}.")


def _numpy(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array


class ColumnBuffer:
    """Columns of consecutive pieces, end to end; those that are the same for all rows are taken once.

    Arguments:
        rows: of all pieces together.
    """

    def __init__(self, rows: int) -> None:
        self._rows, self._done = rows, 0
        self._columns: dict[str, ResultColumn] = {}
        self._pieces: dict[str, list[np.ndarray]] = {}

    def add(self, piece: Mapping[str, ResultColumn]) -> None:
        """The next piece.

        Raises:
            MemoryError: there is no room for all rows.
        """
        count = next((len(column.values) for column in piece.values() if column.axis == "rows"), 0)
        for name, column in piece.items():
            if column.axis == "rows" and count < self._rows and column.values.dtype.kind not in "OU":
                self._place(name, column, slice(self._done, self._done + count))
                continue
            self._columns.setdefault(name, column)
            if column.axis in ("rows", "samples"):
                self._pieces.setdefault(name, []).append(column.values)
        self._done += count

    def columns(self) -> dict[str, ResultColumn]:
        """Of all pieces."""
        joined = {
            name: replace(self._columns[name], values=np.concatenate(pieces))
            for name, pieces in self._pieces.items()
            if len(pieces) > 1
        }
        return {**self._columns, **joined}

    def _place(self, name: str, column: ResultColumn, where: slice) -> None:
        if name not in self._columns:
            room = np.empty((self._rows, *column.values.shape[1:]), column.values.dtype)
            self._columns[name] = replace(column, values=room)
        self._columns[name].values[where] = column.values


_REDUCED = ("embedding", "feature", "channel")


def reduced_axes(spec: InputSpec) -> tuple[int, ...]:
    """Which axes of a tensor a reduction takes away; none of a tensor that has no other ones."""
    gone = tuple(i for i, axis in enumerate(spec.axes) if axis in _REDUCED)
    return gone if 0 < len(gone) < len(spec.shape) == len(spec.axes) else ()


def reduce_map(
    values: Tensor, spec: InputSpec, axes: tuple[str, ...], way: Reduction
) -> tuple[Tensor, tuple[str, ...]]:
    """A map without its embedding, feature or channel axis, and the labels of the axes that are left.

    Arguments:
        values: (..., *shape).
        spec: of the tensor.
        axes: labels of `shape`.
        way: `sum` keeps what a token adds to the score; `l2` is the length of its vector; `none` keeps all.
    """
    gone = reduced_axes(spec)
    if way == "none" or not gone:
        return values, axes
    across = tuple(i - len(spec.shape) for i in gone)
    reduced = values.sum(dim=across) if way == "sum" else values.square().sum(dim=across).sqrt()
    return reduced, tuple(axis for i, axis in enumerate(axes) if i not in gone)
