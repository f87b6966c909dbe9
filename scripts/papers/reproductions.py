"""A paper's experiments one after the other: run, kept, and published together."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import torch
from PIL import Image

from scripts.benchmarks.benchlib import RESULTS, ROOT, Table, publish, versions
from scripts.papers.paper_jobs import AGREES, CONFIGS, NOTE

__all__ = ["Found", "kept", "opening_of", "published", "reproduce"]

_KEPT, _SECONDS = "tables.json", "seconds.json"
_LINES = 5
_COLOURS, _WIDEST = 64, 800  # of the picture: lines and maps need no more


def reproduce(
    name: str,
    description: str,
    experiments: Mapping[str, str],
    *,
    pictures: Sequence[str],
    packages: Sequence[str] = ("torch",),
    arguments: Sequence[str] | None = None,
) -> None:
    """The command of a script.

    What an experiment found is kept in its folder and in the published page, so that one of them can be run again
    on its own, and the results of all be published. Quick runs are printed only.

    Arguments:
        name: of the results.
        description: of the command.
        experiments: name -> module with `tables(folder, quick)`, which returns a list of tables.
        pictures: within the folder of the experiments; the page opens with the first that is there.
        packages: whose versions are told.
        arguments: of the command; those of the process if None.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--experiments", nargs="*", choices=experiments, default=list(experiments), help="default: all of them"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / name.replace("_", "-"))
    parser.add_argument("--quick", action="store_true", help="small, for a look; not published")
    parser.add_argument("--keep-networks", action="store_true", help="explain those trained by an earlier run")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.path.append(str(CONFIGS))  # where the networks are
    for one in options.experiments:
        if not options.keep_networks:
            (options.folder / one / NOTE).unlink(missing_ok=True)
        run(experiments[one], options.folder / one, quick=options.quick)
    if not options.quick:
        before = published(name)
        found = {one: kept(options.folder / one) or before.get(one, Found()) for one in experiments}
        tables = [table for each in found.values() for table in each.tables]
        minutes = ", ".join(f"{one} {each.minutes}" for one, each in found.items())
        opening = opening_of(tables, picture_of(name, [options.folder / picture for picture in pictures]))
        told = {one: {"seconds": each.seconds, "tables": each.titles} for one, each in found.items()}
        publish(name, {**versions(*packages), "minutes:": minutes}, tables, opening, {"experiments": told})
    print(f"figures: {options.folder}")


def run(module: str, folder: Path, *, quick: bool) -> None:
    """Run an experiment, print its tables, and keep them unless it was a quick one."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    tables: list[Table] = import_module(module).tables(folder, quick)
    seconds = time.perf_counter() - began
    print(f"{folder.name}: {seconds:.0f} s", file=sys.stderr, flush=True)
    if quick:
        print("\n".join(table.markdown() for table in tables))
    else:
        (folder / _KEPT).write_text(json.dumps([table.as_json() for table in tables], default=float))
        (folder / _SECONDS).write_text(json.dumps(seconds))


@dataclass(frozen=True)
class Found:
    """What an experiment found, and how long that took; nothing and None if it has not been run."""

    tables: Sequence[Table] = ()
    seconds: float | None = None

    @property
    def minutes(self) -> str:
        """Such as 3.1."""
        return "–" if self.seconds is None else f"{self.seconds / 60:.1f}"

    @property
    def titles(self) -> list[str]:
        """Of the tables."""
        return [table.title for table in self.tables]


def kept(folder: Path) -> Found | None:
    """What the latest run of an experiment left in its folder; None if there was none."""
    if not (folder / _KEPT).exists() or not (folder / _SECONDS).exists():
        return None
    tables = [Table.of_json(table) for table in json.loads((folder / _KEPT).read_text())]
    return Found(tables, json.loads((folder / _SECONDS).read_text()))


def published(name: str) -> dict[str, Found]:
    """Experiment -> what the page of a paper says of it."""
    path = RESULTS / f"{name}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    tables = {table["title"]: table for table in content.get("tables", ())}
    return {
        one: Found([Table.of_json(tables[title]) for title in told["tables"]], told["seconds"])
        for one, told in content.get("experiments", {}).items()
    }


def opening_of(tables: Sequence[Table], picture: str | None) -> list[str]:
    """Lines that the page of a paper opens with: a picture, and a verdict of five lines."""
    verdicts = Counter(_verdicts(tables))
    told = ", ".join(f"{verdicts[each]} {word}" for each, word in
                     (("yes", "agree"), ("in part", "agree in part"), ("no", "do not")))  # fmt: skip
    lines = [f"Of {verdicts.total()} claims that were tried, {told}.", *_sentences(tables)][:_LINES]
    shown = [f"![The figure that says most]({picture})", ""] if picture else []
    return [*shown, *(f"{number}. {line}" for number, line in enumerate(lines, start=1)), ""]


def _verdicts(tables: Sequence[Table]) -> Iterator[str]:
    for table in tables:
        if AGREES in table.columns:
            place = [*table.columns].index(AGREES)
            yield from (row[place] for row in table.rows)


def _sentences(tables: Sequence[Table]) -> Iterator[str]:
    """The first sentence of every table, then the second ones."""
    for place in range(_LINES):
        yield from (table.verdict[place] for table in tables if len(table.verdict) > place)


def picture_of(name: str, pictures: Sequence[Path]) -> str | None:
    """Name of the picture beside the page: the first there is; no other takes the place of a published one."""
    first, *others = pictures
    if (RESULTS / f"{name}.png").exists() and not first.exists():
        return f"{name}.png"
    return next((copy_picture(picture, name) for picture in (first, *others) if picture.exists()), None)


def copy_picture(path: Path, name: str) -> str:
    """Leave a figure beside the tables in as few bytes as it needs; its name there."""
    with Image.open(path) as picture:
        picture.thumbnail((_WIDEST, 2 * _WIDEST))
        picture.convert("RGB").quantize(_COLOURS).save(RESULTS / f"{name}.png", optimize=True)
    return f"{name}.png"
