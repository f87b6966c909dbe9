"""`make fuzz`: broken and hostile files by the thousand, from a seed; a table of tried and clean at the end."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import random
import re
import sys
import tempfile
import time
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from .families import FAMILIES
from .forked import Outcome, run_forked

__all__ = ["Tally", "fault_of", "fuzz", "warm_up"]

COUNTS = {"jobs": 2000, "checkpoints": 2000, "data": 3000, "results": 1000}
MOST_SECONDS, MOST_GROWTH, MOST_LINES = 2.0, 500 * 2**20, 12
LATE = (
    "xattr_cli.__main__", "xattr_cli.pipeline.planning", "xattr_cli.pipeline.run", "xattr_cli.reports.summary",
    "xattr_cli.reports.gallery", "xattr_cli.reports.figures", "xattr_cli.evaluation", "xattr_cli.apply.effects",
    "pandas", "pyarrow.parquet", "onnx", "onnx2torch", "torch._dynamo", "torch.export", "networkx",
    "safetensors.torch",
)  # fmt: skip
"""What the commands import when they need it."""


@dataclass
class Tally:
    """What became of a family's cases.

    Attributes:
        tried: cases.
        accepted: of them, read without complaint.
        faults: what was wrong → how often.
        slowest, largest: seconds of processor time and bytes of memory of the refused cases.
    """

    tried: int = 0
    accepted: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    largest: int = 0

    @property
    def clean(self) -> int:
        return self.tried - self.faults.total()


def fault_of(outcome: Outcome, codes: tuple[int, ...], folder: Path) -> str | None:
    """What is wrong with how a command ended; None if nothing is."""
    if (folder / "canary").exists():
        (folder / "canary").unlink()
        return "code run"
    if outcome.hung:
        return "hang"
    if outcome.code < 0:
        return f"killed by signal {-outcome.code}"
    if "Traceback" in outcome.stderr:
        return "traceback"
    if outcome.code not in codes:
        return f"exit code {outcome.code}"
    if outcome.code == 0:
        return None
    # a network, or numpy, may have warned before
    message = re.search(r"^(Error|Usage): ", outcome.stderr, re.MULTILINE)
    if message is None or len(outcome.stderr[message.start() :].splitlines()) > MOST_LINES:
        return "no plain message"
    if outcome.seconds > MOST_SECONDS:
        return "slow"
    return "memory" if outcome.growth > MOST_GROWTH else None


def fuzz(family: str, count: int, seed: int, minutes: float) -> Tally:
    """Try `count` cases of a family, or as many as the time allows; print those that are not clean."""
    tally, ends = Tally(), time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        cases = FAMILIES[family](folder)
        for number in range(count):
            if time.monotonic() > ends:
                break
            what, arguments = cases.case(random.Random(f"{seed}/{family}/{number}"))
            outcome = run_forked(arguments, folder)
            fault = fault_of(outcome, cases.codes, folder)
            tally.tried += 1
            tally.accepted += outcome.code == 0
            if fault is not None:
                tally.faults[fault] += 1
                print(
                    f"{family} {number} ({what}): {fault}: {' '.join(arguments)}\n{outcome.stderr[-1500:]}",
                    flush=True,
                )
            elif outcome.code:
                tally.slowest = max(tally.slowest, outcome.seconds)
                tally.largest = max(tally.largest, outcome.growth)
    return tally


def warm_up() -> None:
    """Import what the commands import late, once for all cases."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LATE:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def table(tallies: dict[str, Tally], seed: int, minutes: float) -> str:
    """The tallies as Markdown."""
    lines = [
        "# Broken and hostile files",
        "",
        f"`make fuzz`: every file is made from seed {seed}, its number and a good file, and given to the command",
        "that reads such files, in a process of its own. Clean: accepted, or refused in one message with exit",
        "code 2 (for a job also 1), within 2 s of processor time and 500 MB beyond the imports; no traceback,",
        f"no crash of the command, no hang, no code run. {minutes:.0f} minutes on two shared cores.",
        "",
        "| files | tried | clean | of them accepted | slowest refusal | most memory of a refusal |",
        "|---|---|---|---|---|---|",
    ]
    for family, tally in tallies.items():
        cells = (f"{tally.tried:,}", f"{tally.clean:,}", f"{tally.accepted:,}")
        lines.append(
            f"| {family} | {' | '.join(cells)} | {tally.slowest:.2f} s | {tally.largest / 2**20:.0f} MB |"
        )
    faults = [
        f"- {family}: {fault}, {count} times" for family, t in tallies.items() for fault, count in t.faults.items()
    ]
    return "\n".join([*lines, *(["", "Not clean:", "", *faults] if faults else []), ""])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=120, help="for all families together")
    parser.add_argument("--count", type=int, help="cases of each family; default: 2000, 2000, 3000, 1000")
    parser.add_argument("--family", choices=FAMILIES, action="append")
    parser.add_argument("--table", type=Path, help="where the table goes, as Markdown")
    given = parser.parse_args()
    warm_up()
    began, tallies = time.monotonic(), {}
    for family in given.family or FAMILIES:
        left = given.minutes - (time.monotonic() - began) / 60
        tallies[family] = fuzz(family, given.count or COUNTS[family], given.seed, left)
    text = table(tallies, given.seed, (time.monotonic() - began) / 60)
    print(text, flush=True)
    if given.table:
        given.table.write_text(text)
    sys.stdout.flush()
    # without the modules' own ends: some of them complain when a collection was frozen
    os._exit(any(tally.faults for tally in tallies.values()))


if __name__ == "__main__":
    main()
