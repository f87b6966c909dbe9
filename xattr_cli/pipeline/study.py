"""From a dataset to effects: a population engine studies it, and the columns of a part are made of the answer."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping

import numpy as np

from ..engines.population import Memo
from ..errors import RunError, XattrError
from ..store import ResultColumn
from .columns import engine_attributes
from .parts import population_engines
from .session import Session

__all__ = ["study_dataset"]

RESERVED = ("targets", "target_names")


def study_dataset(
    session: Session, label: str, *, memo: Memo, stage: Callable[[str, int, int], None]
) -> tuple[dict[str, ResultColumn], Mapping[str, Mapping[str, str | int]]]:
    """The columns and group attributes of a population engine.

    Arguments:
        session: the open job.
        label: of the engine.
        memo: durable memory for results on the way.
        stage: told the label, the steps done and the steps to do.

    Raises:
        RunError: the network, the dataset or the engine fails; names the engine.
    """
    engine = population_engines(session.job)[label]
    population = session.population(label, memo=memo, stage=stage)
    try:
        effects = engine.study(population)
    except XattrError:
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise RunError(
            f"engine {label!r}: {type(error).__name__}: {str(error).strip()} ({where.filename}, line "
            f"{where.lineno}). What was finished before is kept; when the cause is removed, the same command "
            "goes on from there."
        ) from error
    taken = [name for name in RESERVED if name in effects.values]
    if taken:
        raise RunError(f"engine {label!r} returned {taken[0]!r}, which every engine has; give it another name.")
    attributes: dict[str, str | int] = {
        **engine_attributes(engine),
        "evaluations": effects.evaluations,
        "converged": int(effects.converged),
        "warnings": "\n".join(population.warnings),
    }
    targets: dict[str, np.ndarray | tuple[str, ...]] = {
        "targets": np.array(population.targets),
        "target_names": population.target_names,
    }
    columns = _columns(label, {**targets, **effects.values}, effects.axes)
    return columns, {f"effects/{label}": attributes}


def _columns(
    label: str, values: Mapping[str, np.ndarray | tuple[str, ...]], axes: Mapping[str, tuple[str, ...]]
) -> dict[str, ResultColumn]:
    return {
        f"effects/{label}/{name}": ResultColumn(_array(value), axis="single", axes=axes.get(name, ()))
        for name, value in values.items()
    }


def _array(values: np.ndarray | tuple[str, ...]) -> np.ndarray:
    return np.array(values, dtype=object) if isinstance(values, tuple) else np.asarray(values)
