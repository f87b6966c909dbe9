"""What the benchmarks share: tables for the terminal and for scripts/results, and timing on a busy machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["ROOT", "Table", "alternate", "median_ratio", "publish", "versions"]

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "scripts" / "results"


@dataclass(frozen=True)
class Table:
    """A titled table of raw values.

    Attributes:
        title: a sentence.
        columns: heading -> format of its numbers, such as ".1%"; "" for texts.
        rows: one value per column; None where there is none.
        note: how to read it.
        verdict: sentences of it that a page may open with.
    """

    title: str
    columns: Mapping[str, str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    verdict: Sequence[str] = ()

    def markdown(self) -> str:
        """As it is printed and committed."""
        body = [[_shown(value, form) for value, form in zip(row, self.columns.values(), strict=True)]
                for row in self.rows]  # fmt: skip
        widths = [max(map(len, column)) for column in zip(self.columns, *body, strict=True)]
        rule = ["-" * width for width in widths]
        lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in [[*self.columns], rule, *body]]
        return "\n".join([f"## {self.title}", "", *([self.note, ""] if self.note else []), *lines, ""])

    def as_json(self) -> dict[str, Any]:
        """As it is committed for machines."""
        texts = {"title": self.title, "note": self.note, "verdict": list(self.verdict)}
        return {
            **texts,
            "columns": list(self.columns),
            "formats": list(self.columns.values()),
            "rows": list(self.rows),
        }

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Table:
        """The table that `as_json` was made of."""
        columns = dict(zip(kept["columns"], kept["formats"], strict=True))
        return cls(kept["title"], columns, kept["rows"], kept["note"], tuple(kept["verdict"]))


def _shown(value: Any, form: str) -> str:
    if value is None:
        return "–"
    return format(value, form) if form else str(value)


def publish(
    name: str,
    facts: Mapping[str, Any],
    tables: Sequence[Table],
    opening: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> None:
    """Print the tables, and leave them as results/<name>.json and results/<name>.md.

    Arguments:
        name: of the files.
        facts: what a reader has to know first, such as versions.
        tables: in their order.
        opening: lines that the page begins with.
        more: what only machines read.
    """
    texts = [table.markdown() for table in tables]
    RESULTS.mkdir(exist_ok=True)
    content = {"facts": dict(facts), **(more or {}), "tables": [table.as_json() for table in tables]}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    heading = ", ".join(f"{key} {value}" for key, value in facts.items())
    (RESULTS / f"{name}.md").write_text("\n".join([*opening, f"`{heading}`", "", *texts]))
    print("\n".join([heading, "", *texts]))


def versions(*packages: str) -> dict[str, str]:
    """Versions of installed packages."""
    return {package: version(package) for package in packages}


def alternate(actions: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, list[float]]:
    """Seconds of each action, taken in turns.

    Every repetition runs all of them, beginning with another one each time, so that what else happens on the
    machine slows all of them alike; ratios are to be taken within a repetition. A first round warms up.
    """
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    names = list(actions)
    for repetition in range(-1, repetitions):
        first = repetition % len(names)
        for name in names[first:] + names[:first]:
            began = time.perf_counter()
            actions[name]()
            if repetition >= 0:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """Median over the repetitions of the ratio within each."""
    return median(a / b for a, b in zip(above, below, strict=True))
