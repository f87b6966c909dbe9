"""Means and standard deviations of columns, as a training run leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from pydantic import Field, ValidationError

from ..errors import DataError, suggestion
from ..registry import Options
from .scaling import nonzero_scale

__all__ = ["Statistics", "read_statistics"]


class Statistics(Options):
    """Mean and standard deviation per column."""

    mean: dict[str, float] = Field(description="subtracted")
    std: dict[str, float] = Field(description="divided by; a 0 counts as 1")

    def of(self, columns: Sequence[str], key: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale, each (columns,) float64; further columns are passed over.

        Raises:
            DataError: a column has no entry, or a negative or non-finite one. `key` begins the message.
        """
        mean = _values(self.mean, columns, f"{key}.mean")
        std = _values(self.std, columns, f"{key}.std")
        if (std < 0).any():
            raise DataError(f"{key}.std: {columns[int(np.argmin(std))]!r} has {std.min()}, which is negative.")
        return mean, nonzero_scale(std)


def read_statistics(path: Path, key: str) -> Statistics:
    """Read `{mean: {column: value}, std: {column: value}}` from a .json or .yaml file.

    Raises:
        DataError: it cannot be read or does not have this form. `key` begins the message.
    """
    try:
        return Statistics.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{key}: {path} cannot be read: {error}") from error
    except ValidationError as error:
        wrong = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in wrong["loc"]) or "the file"
        raise DataError(
            f"{key}: {path}: {where}: {wrong['msg']}. "
            "The form is {mean: {column: value}, std: {column: value}}."
        ) from error


def _values(given: dict[str, float], columns: Sequence[str], key: str) -> np.ndarray:
    for name in columns:
        if name not in given:
            raise DataError(f"{key}: no value for column {name!r}.{suggestion(name, given)}")
    values = np.array([given[name] for name in columns], dtype=np.float64)
    if not np.isfinite(values).all():
        raise DataError(f"{key}: {columns[int(np.argmin(np.isfinite(values)))]!r} is not finite.")
    return values
