"""Which rows a report shows: those that fulfil the conditions of `--where`, and of them those of `--rows`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import JobError, suggestion
from ...samples import Status
from ..drawing.selection import spread
from .facts import RowFacts

__all__ = ["Chosen", "choose"]

_COMPARE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "==": np.equal, "=": np.equal, "!=": np.not_equal,
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip
_CLAUSE = re.compile(
    r"""\s*(?P<name>[^\s=!<>~"']+)\s*(?P<op>==|!=|<=|>=|=|<|>|~)\s*
        (?P<value>"[^"]*"|'[^']*'|.*?)\s*(?:\band\b|$)""",
    re.VERBOSE | re.IGNORECASE,
)
_HOW = "as in `error > 5% and label != predicted`, `key ~ cat`, `target = 'New York'`"
_KINDS = {
    "spread": "evenly spread",
    "first": "the first",
    "worst": "failed rows first, then those of the largest reported error",
    "best": "those of the smallest reported error",
    "highest": "those of the highest score",
    "lowest": "those of the lowest score",
    "wrong": "those whose prediction is not the label, of the highest score",
    "disagree": "those whose engines agree least",
}


@dataclass(frozen=True)
class Chosen:
    """The rows that are shown.

    Attributes:
        rows: (n,) int64, positions in the file, in the order in which they are shown.
        total: how many rows the file has.
        words: how they were chosen, '' if all are shown.
    """

    rows: np.ndarray
    total: int
    words: str


def choose(facts: RowFacts, rows: str, where: Sequence[str]) -> Chosen:
    """The rows of a file to show.

    Arguments:
        facts: of the rows of the file.
        rows: `all`, a number (evenly spread), or a kind and a number: `worst:20`.
        where: conditions that all must hold.

    Raises:
        JobError: what is wrong with a choice or a condition.
    """
    fitting = np.arange(len(facts))
    for condition in where:
        fitting = fitting[_fulfilled(facts, condition)[fitting]]
    kind, count = _parsed(rows)
    shown = fitting if count is None else _ordered(facts, kind, fitting, count)
    words = [f"where {condition}" for condition in where]
    if len(shown) < len(fitting):
        words.insert(0, _KINDS[kind])
    return Chosen(shown, len(facts), ", ".join(words))


def _parsed(rows: str) -> tuple[str, int | None]:
    """Kind and number; no number for all."""
    if rows == "all":
        return "first", None
    kind, _, count = rows.rpartition(":")
    kind = kind or "spread"
    if kind not in _KINDS or not count.isdecimal() or not int(count):
        listed = ", ".join(f"{name}:N" for name in _KINDS)
        match = suggestion(kind, []) if kind in _KINDS else suggestion(kind, _KINDS).partition(".")[2]
        raise JobError(f"--rows {rows!r}: give all, a number N, or one of {listed}.{match}")
    return kind, int(count)


def _ordered(facts: RowFacts, kind: str, rows: np.ndarray, count: int) -> np.ndarray:
    if kind == "spread":
        stored = [row for row in rows.tolist() if int(facts.results.rows.sample[row]) in facts.results.stored]
        return np.array(spread(stored or rows.tolist(), count), np.int64)
    if kind == "first":
        return rows[:count]
    if kind == "wrong":
        rows = rows[facts.column("correct")[rows] == "no"]
    keys = {
        "worst": lambda: -_trouble(facts),
        "best": lambda: _trouble(facts),
        "highest": lambda: -facts.score,
        "lowest": lambda: facts.score,
        "wrong": lambda: -facts.score,
        "disagree": lambda: facts.agreement,
    }[kind]()[rows]
    # rows of which the value is not known come last
    return rows[np.argsort(np.where(np.isnan(keys), np.inf, keys), kind="stable")[:count]]


def _trouble(facts: RowFacts) -> np.ndarray:
    """(rows,) rising with the reported error; above all errors where a row failed, by its status."""
    error = np.nan_to_num(facts.error, nan=0.0, posinf=1e30)
    failed = np.isin(facts.status, [Status.QUARANTINED, Status.INCONSISTENT])
    return np.asarray(np.where(failed, 1e40 * (1 + facts.status), error))


def _fulfilled(facts: RowFacts, condition: str) -> np.ndarray:
    """(rows,) bool, where `NAME OP VALUE and NAME OP VALUE ...` holds.

    OP is one of = == != < <= > >= and ~ (contains). A value is a number, per cent, a word, or the name of
    another column; words do not care about capitals.

    Raises:
        JobError: it cannot be understood, or names no column.
    """
    if not condition.strip():
        raise JobError(f"--where is empty; {_HOW}.")
    holds, place = np.ones(len(facts), bool), 0
    while place < len(condition):
        clause = _CLAUSE.match(condition, place)
        if clause is None or not clause["value"]:
            raise JobError(f"--where {condition!r}: not understood at {condition[place:].strip()!r}; {_HOW}.")
        holds &= _holds(facts, clause["name"], clause["op"], clause["value"])
        place = clause.end()
    return holds


def _holds(facts: RowFacts, name: str, op: str, text: str) -> np.ndarray:
    values = facts.column(name)
    other: np.ndarray = facts.column(text) if text in facts.names else np.array(text.strip("\"'"), object)
    if op == "~":
        word = str(text.strip("\"'")).lower()
        return np.array([word in str(value).lower() for value in values], bool)
    if values.dtype != object:
        number = other if other.dtype != object else _number(str(other))
        if number is None:
            raise JobError(f"--where {name} {op} {text}: {name} is a number, and {text!r} is none; {_HOW}.")
        with np.errstate(invalid="ignore"):
            return np.asarray(_COMPARE[op](values, number))
    if op not in ("=", "==", "!="):
        raise JobError(f"--where {name} {op} {text}: {name} is a word; words compare by =, != and ~.")
    left = np.array([str(value).lower() for value in values], object)
    right = np.array([str(value).lower() for value in np.broadcast_to(other, values.shape)], object)
    if text not in facts.names and not (left == right).any() and name in ("label", "predicted", "target"):
        if text.isdecimal() and facts.results.class_name(int(text)) != text:
            return _holds(facts, name, op, repr(facts.results.class_name(int(text))))
        known = sorted({str(value) for value in values if value != ""})
        raise JobError(f"--where {name} {op} {text}: no row has it.{suggestion(text, known[:60])}")
    return np.asarray(_COMPARE[op](left, right), bool)


def _number(text: str) -> np.ndarray | None:
    try:
        return np.asarray(float(text[:-1]) / 100 if text.endswith("%") else float(text))
    except ValueError:
        return None
