"""From rows to columns: every engine of a job explains the same block."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Mapping

import numpy as np

from .columns import engine_attributes, engine_columns, input_columns, map_attributes, row_columns
from .device.packing import is_out_of_memory
from .engines.base import Explanation, PopulationEngine
from .engines.block import Block
from .errors import RunError, XattrError
from .samples import Batch
from .session import RowTable, Session
from .store import Column

__all__ = ["explain_rows"]


def explain_rows(
    session: Session, rows: slice, labels: Collection[str] | None = None, *, batch: Batch | None = None
) -> tuple[dict[str, Column], Mapping[str, Mapping[str, str]]]:
    """The columns and group attributes of some rows.

    Arguments:
        session: the open job.
        rows: to explain.
        labels: of the engines; None for all that explain rows.
        batch: their samples, if they have been read already.

    Raises:
        RunError: the network, the dataset or an engine fails on these rows; names the samples and the engine.
    """
    at_work = ""
    engines = {k: e for k, e in session.row_engines.items() if labels is None or k in labels}
    try:
        table = session.read_rows(rows, batch)
        block = session.block(table)
        columns = row_columns(table)
        stored = _stored(session, table)
        columns |= input_columns(session.stored_specs, session.layout, session.classes, table, stored)
        for label in engines:
            at_work = f"engine {label!r}, "
            columns |= engine_columns(
                label, _explanation(session, label, block), session.layout, table, session.job.explain
            )
    except XattrError:
        raise
    except Exception as error:
        raise RunError(at_work + _failure(session, rows, error)) from error
    reduced = map_attributes(session.job.explain)
    return columns, {f"engines/{k}": {**engine_attributes(e), **reduced} for k, e in engines.items()}


def _explanation(session: Session, label: str, block: Block) -> Explanation:
    engine = session.row_engines[label]
    if isinstance(engine, PopulationEngine):
        return engine.explain(block, session.effects[label])
    return engine.explain(block)


def _failure(session: Session, rows: slice, error: Exception) -> str:
    first, last = rows.start // session.rows_per_sample, (rows.stop - 1) // session.rows_per_sample
    where = traceback.extract_tb(error.__traceback__)[-1]
    text = (
        f"samples {first} to {last}: {type(error).__name__}: {str(error).strip()} "
        f"({where.filename}, line {where.lineno}). Parts finished before are kept; when the cause is "
        "removed, the same command goes on from there."
    )
    advice = " Lower output.part_rows, so that fewer rows are held at once." if is_out_of_memory(error) else ""
    return text + advice


def _stored(session: Session, table: RowTable) -> np.ndarray:
    """Which samples of the part's batch go into the file: those whose first row lies in this part."""
    first_row_here = np.flatnonzero(table.id % session.rows_per_sample == 0)
    position = table.position[first_row_here]
    ordinal = table.id[first_row_here] // session.rows_per_sample
    return position[ordinal < session.stored_samples]
