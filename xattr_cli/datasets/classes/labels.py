"""Labels: class numbers, or values of a regression."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import DataError, nearest, suggestion

__all__ = ["Labels", "as_labels", "name_labels", "numbered"]

_SHOWN = 3
_NAMED = 20


@dataclass(frozen=True)
class Labels:
    """The labels of a dataset.

    Attributes:
        values: (n,) int64 class numbers, or float64 values of a regression.
        classes: names of the classes, as far as the labels tell them.
        several: (n, k) labels of samples that have several each, as 0 and 1 per class, or as values of a
            regression; None if each has one. `values` is NaN then.
        note: how texts were numbered, or vectors read; empty if labels are numbers.
    """

    values: np.ndarray
    classes: tuple[str, ...] = ()
    several: np.ndarray | None = None
    note: str = ""


def as_labels(values: np.ndarray, key: str, class_names: Sequence[str] = ()) -> Labels:
    """Labels from any column: integers are class numbers, floats a regression (0.0 and 1.0 classes), texts names.

    Arguments:
        values: (n,) or (n, 1).
        key: dotted key of the job file, for errors.
        class_names: names of the model's outputs, if the job gives them; they number text labels.

    Raises:
        DataError: another shape or type, negative or non-finite values, classes without a name.
    """
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 2 and values.shape[1] > 1 and values.dtype.kind in "buif":
        return _vectors(values, key, class_names)
    if values.ndim != 1:
        raise DataError(f"{key}: labels must have shape (n,), or (n, k) of numbers, not {values.shape}.")
    if values.dtype.kind == "f":
        return _floats(_finite(values.astype(np.float64), key), key, class_names)
    if values.dtype.kind in "bui":
        return Labels(_class_numbers(values.astype(np.int64), key, class_names), tuple(class_names))
    if values.dtype.kind == "U" or all(isinstance(value, str) for value in values):
        return name_labels([str(value) for value in values], key, class_names)
    raise DataError(f"{key}: labels must be integers, floats or texts, not {values.dtype}.")


def _floats(values: np.ndarray, key: str, class_names: Sequence[str]) -> Labels:
    """Values of a regression; but 0.0 and 1.0 alone, as binary cross-entropy wants them, are classes."""
    if set(np.unique(values).tolist()) != {0.0, 1.0}:
        return Labels(values)
    numbers = _class_numbers(values.astype(np.int64), key, class_names)
    return Labels(numbers, tuple(class_names), note="labels: 0.0 and 1.0 are taken as the classes 0 and 1")


def name_labels(names: Sequence[str], key: str, class_names: Sequence[str] = ()) -> Labels:
    """Number text labels: by `class_names` where the job gives them, else in sorted order.

    Where `class_names` has as many names as there are classes and none of them occurs, they are
    display names of the sorted classes.

    Raises:
        DataError: a label is not among `class_names`, or is there several times.
    """
    different = sorted(set(names))
    if not class_names and all(name.isdecimal() and str(int(name)) == name for name in different):
        # as texts, "10" would come before "2"
        note = f"labels: texts {different[0]} … are taken as class numbers"
        return Labels(np.array([int(name) for name in names], dtype=np.int64), note=note)
    classes = list(class_names) or different
    _check_unambiguous(different, classes, key)
    unknown = [name for name in different if name not in classes]
    if unknown and len(unknown) == len(different) == len(classes):
        numbers = {name: number for number, name in enumerate(different)}
    elif unknown:
        raise DataError(
            f"{key}: {unknown[0]!r} is not among the {len(classes)} class names."
            f"{suggestion(unknown[0], classes if len(classes) <= 20 else [], nearest(unknown[0], classes))}"
        )
    else:
        numbers = {name: classes.index(name) for name in different}
    values = np.array([numbers[name] for name in names], dtype=np.int64)
    if class_names and not unknown:  # as the job says
        return Labels(values, tuple(classes))
    shown = sorted(numbers.items(), key=lambda item: item[1])
    return Labels(values, tuple(classes), note=numbered([name for name, _ in shown]))


def numbered(names: Sequence[str]) -> str:
    """What is said about how names were numbered.

    Example:
        >>> numbered(["low", "high"])
        'labels: 0 low, 1 high'
    """
    note = "labels: " + ", ".join(f"{number} {name}" for number, name in enumerate(names[:_NAMED]))
    return note + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _vectors(values: np.ndarray, key: str, class_names: Sequence[str]) -> Labels:
    """Labels (n, k): one-hot vectors are class numbers, others stay beside the rows."""
    finite = values.astype(np.float64)
    if (wrong := np.flatnonzero(~np.isfinite(finite).all(axis=1))).size:
        raise DataError(f"{key}: labels must be finite; sample {wrong[0]} has {values[wrong[0]].tolist()}.")
    is_hot = bool(np.isin(finite, (0, 1)).all())
    if is_hot and bool((finite.sum(axis=1) == 1).all()):
        note = f"labels: one-hot vectors of {values.shape[1]} are taken as class numbers"
        return Labels(finite.argmax(axis=1).astype(np.int64), tuple(class_names), note=note)
    kind = "labels that do not exclude each other (multi-hot)" if is_hot else "values of a regression"
    note = f"labels: {values.shape[1]} for every sample, {kind}"
    return Labels(np.full(len(values), np.nan), tuple(class_names), finite, note)


def _check_unambiguous(different: Sequence[str], classes: Sequence[str], key: str) -> None:
    # many lists of ImageNet have two cranes: fine in plots, but a label must mean one of them
    shared = next((name for name in different if classes.count(name) > 1), None)
    if shared is not None:
        numbers = ", ".join(str(number) for number, name in enumerate(classes) if name == shared)
        raise DataError(
            f"{key}: the label {shared!r} is the name of several classes ({numbers}). Give each of them a name of "
            "its own in dataset.class_names, or store class numbers as labels."
        )


def _class_numbers(values: np.ndarray, key: str, class_names: Sequence[str]) -> np.ndarray:
    if (wrong := np.flatnonzero(values < 0)).size:
        raise DataError(
            f"{key}: integer labels are class numbers, 0 or more; found {_shown(values, wrong)}. "
            "Store the values of a regression as floats, and the classes of -1 and 1 as 0 and 1."
        )
    if class_names and (wrong := np.flatnonzero(values >= len(class_names))).size:
        raise DataError(f"{key}: dataset.class_names has {len(class_names)} names; found {_shown(values, wrong)}.")
    return values


def _finite(values: np.ndarray, key: str) -> np.ndarray:
    if (wrong := np.flatnonzero(~np.isfinite(values))).size:
        raise DataError(f"{key}: labels must be finite; found {_shown(values, wrong)}.")
    return values


def _shown(values: np.ndarray, wrong: np.ndarray) -> str:
    shown = ", ".join(f"{values[i].item()!r} at sample {i}" for i in wrong[:_SHOWN])
    return f"{shown} and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else shown
