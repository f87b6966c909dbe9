"""From rows to columns: every engine of a job explains the same block."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np

from ..device.packing import give_back_memory, is_out_of_memory
from ..engines.alternatives import alternatives, explain_alternatives
from ..engines.base import Explanation, LocalEngine, PopulationEngine
from ..engines.block import Block
from ..engines.folds import explain_folds
from ..errors import RunError, XattrError
from ..samples import Batch
from ..store import ResultColumn
from .checks.consistency import with_consistency
from .checks.stability import stability_columns
from .columns import ColumnBuffer, engine_attributes, engine_columns, input_columns, map_attributes, row_columns
from .parts import row_engines
from .session import RowTable, Session
from .settling.rules import rule_of

__all__ = ["explain_rows"]

_LOG = logging.getLogger(__name__)

_Engines = Mapping[str, LocalEngine | PopulationEngine]


def explain_rows(
    session: Session,
    rows: slice,
    labels: Collection[str] | None = None,
    *,
    batch: Batch | None = None,
    told: Callable[[float], None] = lambda rows: None,
) -> tuple[dict[str, ResultColumn], Mapping[str, Mapping[str, str]]]:
    """The columns and group attributes of some rows.

    As many rows are worked on at once as the job's memory allows; fewer, once it has run out.

    Arguments:
        session: the open job.
        rows: to explain.
        labels: of the engines; None for all that explain rows.
        batch: their samples, if they have been read already.
        told: hears how many rows are explained, an engine of many as its share of them.

    Raises:
        RunError: the network, the dataset or an engine fails on these rows; names the samples and the engine.
    """
    engines = {k: e for k, e in row_engines(session.job).items() if labels is None or k in labels}
    gathered, start, packing = ColumnBuffer(rows.stop - rows.start), rows.start, session.scorer.packing
    while start < rows.stop:
        some, rows_per_call, shortage = _next_rows(session, slice(start, rows.stop)), packing.rows, ""
        told_here = partial(_tell_share, told, start - rows.start, some.stop - some.start)
        try:
            with session.scorer.exact_arithmetic():  # here too, so that it need not be begun for every call
                columns = _columns(session, some, engines, _samples_of(session, some, rows, batch), told_here)
        except RunError as error:
            shortage = _shortage(error, some)
        # outside the except block: the traceback would keep the tensors of the failed piece alive
        if shortage:
            _make_do_with_less(session, some, rows_per_call, shortage)
        else:
            _gather(gathered, columns, session, rows)
            start = some.stop
    reduced = map_attributes(session.job.explain)
    attributes = {k: {**engine_attributes(e), "rule": rule_of(session, e), **reduced} for k, e in engines.items()}
    return gathered.columns(), {f"engines/{k}": columns for k, columns in attributes.items()}


def _tell_share(told: Callable[[float], None], before: int, rows: int, share: float) -> None:
    told(before + rows * share)


def _gather(gathered: ColumnBuffer, columns: dict[str, ResultColumn], session: Session, rows: slice) -> None:
    try:
        gathered.add(columns)
    except MemoryError as error:
        most = session.parts.part_rows
        advice = f"The results of {most} rows do not fit into memory together: lower output.part_rows."
        raise RunError(f"{_failure(session, rows, error)} {advice}") from error


def _next_rows(session: Session, rows: slice) -> slice:
    """The next of some rows, in pieces of equal length, and all rows of a sample in the same if that can be."""
    together = session.settings.working.rows_at_once(session.scorer.packing.rows)
    parts = session.parts
    count = rows.stop - rows.start
    if count <= together:
        return rows
    stop = rows.start + -(-count // -(-count // together))
    aligned = int(parts.first_row(parts.sample_of(np.array([stop])))[0])
    return slice(rows.start, aligned if aligned > rows.start else stop)


def _samples_of(session: Session, some: slice, rows: slice, batch: Batch | None) -> Batch | None:
    if batch is None or some == rows:
        return batch
    start, (first, last) = session.parts.samples_of(rows)[0], session.parts.samples_of(some)
    return batch.take(np.arange(first - start, last - start))


def _shortage(error: RunError, rows: slice) -> str:
    """What ran out of memory, if fewer rows at once may do.

    Raises:
        RunError: they may not.
    """
    if rows.stop - rows.start == 1 or not (is_out_of_memory(error) or is_out_of_memory(error.__cause__)):
        raise error
    return str(error.__cause__ or error).strip().partition("\n")[0]


def _make_do_with_less(session: Session, rows: slice, rows_per_call: int, shortage: str) -> None:
    """Work on half as many rows at once from now on."""
    half = max(1, (rows.stop - rows.start) // 2)
    session.settings.working.allow(half)
    session.scorer.packing.recover(rows_per_call)
    _LOG.warning("out of memory; going on with %d rows at once (%s)", half, shortage)
    give_back_memory()


def _columns(
    session: Session, rows: slice, engines: _Engines, batch: Batch | None, told: Callable[[float], None]
) -> dict[str, ResultColumn]:
    at_work = ""
    try:
        table = session.read_rows(rows, batch)
        block = session.block(table)
        _name_quarantined(table)
        columns = row_columns(table)
        stored = _stored(session, table)
        columns |= input_columns(
            session.stored_specs, session.layout, session.classes, session.probe.names, table, stored
        )
        for place, label in enumerate(engines, start=1):
            at_work = f"engine {label!r}, "
            engine = engines[label]
            if isinstance(engine, PopulationEngine):
                explanation = with_consistency(
                    session, engine, block, engine.explain(block, session.effects[label])
                )
            elif session.model.fold_names or len(alternatives(engine)) > 1:
                explanation = _mean_explanation(session, engine, table, block)
            else:
                explanation = with_consistency(session, engine, block, engine.explain(block))
            columns |= engine_columns(label, explanation, session.layout, table, session.job.explain)
            columns |= stability_columns(session.job, label, engine, block, explanation)
            told(place / len(engines))
    except XattrError:
        raise
    except Exception as error:
        raise RunError(at_work + _failure(session, rows, error)) from error
    return columns


def _mean_explanation(session: Session, engine: LocalEngine, table: RowTable, block: Block) -> Explanation:
    """What an engine finds of a block, in the mean over its baselines and over networks."""

    def alone(alternative: LocalEngine) -> Explanation:
        if session.model.fold_names:
            folds = (session.block(table, scorer) for scorer in session.scorer.each_fold)
            names, keep = session.model.fold_names, session.model.keep_folds
            return with_consistency(
                session, alternative, block, explain_folds(alternative, folds, names, keep=keep)
            )
        return with_consistency(session, alternative, block, alternative.explain(block))

    return explain_alternatives(engine, alone)


def _name_quarantined(table: RowTable) -> None:
    """Say which samples are left out, by their names."""
    bad = np.unique(table.position[~table.finite])
    if not len(bad):
        return
    keys = table.batch.keys
    names = [f"{table.batch.index[i]} ({keys[i]})" if keys else str(table.batch.index[i]) for i in bad[:_NAMED]]
    more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    _LOG.warning(
        "quarantined: sample%s %s%s: a value or the label is missing or not finite, or the file is damaged",
        "" if len(bad) == 1 else "s", ", ".join(names), more,
    )  # fmt: skip


_NAMED = 8


def _failure(session: Session, rows: slice, error: Exception) -> str:
    first, after = session.parts.samples_of(rows)
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = (
        f"samples {first} to {after - 1}: {type(error).__name__}: {str(error).strip()} "
        f"({where.filename}, line {where.lineno}). Parts finished before are kept; when the cause is "
        "removed, the same command goes on from there."
    )
    alone = rows.stop - rows.start == 1 and is_out_of_memory(error)
    return (
        f"{text} A single row does not fit: it takes a machine, or a device, with more memory." if alone else text
    )


def _stored(session: Session, table: RowTable) -> np.ndarray:
    """Which samples of the part's batch go into the file: those whose first row lies in this part."""
    sample = session.parts.sample_of(table.id)
    first_row_here = np.flatnonzero(session.parts.first_row(sample) == table.id)
    position = table.position[first_row_here]
    ordinal = sample[first_row_here]
    return position[ordinal < session.stored_samples]
