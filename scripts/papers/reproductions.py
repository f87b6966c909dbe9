"""A paper's experiments one after the other: run, kept, and published together."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from scripts.benchmarks.benchlib import ROOT, Table, publish, versions
from scripts.papers.paper_jobs import CONFIGS, NOTE

__all__ = ["kept_tables", "reproduce"]

_KEPT = "tables.json"


def reproduce(name: str, description: str, experiments: Mapping[str, str]) -> None:
    """The command of a script.

    What an experiment found is kept in its folder, so that one of them can be run again on its own and the
    results of all be published. Quick runs are printed only.

    Arguments:
        name: of the results.
        description: of the command.
        experiments: name -> module with `tables(folder, quick)`, which returns a list of tables.
    """
    there = [one for one, module in experiments.items() if find_spec(module) is not None]
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--experiments", nargs="*", choices=there, default=there, help="default: all of them")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / name.replace("_", "-"))
    parser.add_argument("--quick", action="store_true", help="small, for a look; not published")
    parser.add_argument("--keep-networks", action="store_true", help="explain those trained by an earlier run")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.append(str(CONFIGS))  # where the networks are
    for one in options.experiments:
        if not options.keep_networks:
            (options.folder / one / NOTE).unlink(missing_ok=True)
        run(experiments[one], options.folder / one, quick=options.quick)
    if not options.quick:
        tables = [table for one in there for table in kept_tables(options.folder / one)]
        publish(name, versions("torch", "torchvision", "transformers", "rdkit"), tables)
    print(f"figures: {options.folder}")


def run(module: str, folder: Path, *, quick: bool) -> None:
    """Run an experiment, print its tables, and keep them unless it was a quick one."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    tables: list[Table] = import_module(module).tables(folder, quick)
    print(f"{folder.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    if quick:
        print("\n".join(table.markdown() for table in tables))
    else:
        (folder / _KEPT).write_text(json.dumps([vars(table) for table in tables], default=float))


def kept_tables(folder: Path) -> list[Table]:
    """What an experiment found; nothing if it has not been run."""
    if not (folder / _KEPT).exists():
        return []
    return [Table(**table) for table in json.loads((folder / _KEPT).read_text())]
