"""A thousand `kill -9`: of every kind of work, at random moments; what is in the end must be as without them.

Example: PYTHONPATH=tests python -m scripts.benchmarks.bench_kills --kills 1000 --minutes 60
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from helpers.cli import differences, digits_job, fork, parts_of, write_job

from scripts.benchmarks.benchlib import Table, publish, versions
from xattr_cli.models.zoo import mlp

PARTS, PART_ROWS = 12, 4
MERGED_PARTS = 1_500
SHARDS = 3
COLUMNS = {
    "what is killed": "", "kills": ",d", "while it computed": ",d", "results compared": ",d", "rows lost": ",d",
    "not equal byte for byte": ",d", "something left over": ",d",
}  # fmt: skip


@dataclass
class Case:
    """A kind of work that is killed.

    Attributes:
        name: for the table.
        arguments: of the command, without its output.
        reference: the result of an uninterrupted run.
        prepare: makes what has to be there before, given the output.
        shards: how many processes share the work; 0 for one that does all.
        seconds: of an uninterrupted run.
        kills, computing: how many, and those of them that hit a process with a finished part or step behind it.
        compared, lost, unequal, leftovers: results, and what was wrong with them.
    """

    name: str
    arguments: list[Any]
    reference: Path
    prepare: Callable[[Path], None] = lambda output: None
    shards: int = 0
    seconds: float = 0.0
    kills: int = 0
    computing: int = 0
    compared: int = 0
    lost: int = 0
    unequal: int = 0
    leftovers: int = 0
    faults: list[str] = field(default_factory=list)

    def row(self) -> list[Any]:
        """Of the table."""
        return [self.name, self.kills, self.computing, self.compared, self.lost, self.unequal, self.leftovers]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1_000, help="how many")
    parser.add_argument("--minutes", type=float, default=60, help="and after how many minutes to stop in any case")
    parser.add_argument("--threads", type=int, default=2, help="commands that run at the same time")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        cases = prepared(Path(name))
        print({case.name: round(case.seconds, 1) for case in cases}, flush=True)
        numbers = iter(range(10**9))

        def work() -> None:
            while time.monotonic() < deadline and sum(case.kills for case in cases) < options.kills:
                number = next(numbers)
                # whichever was killed least is next; of long ones, a few less
                case = min(cases, key=lambda case: (case.kills * case.seconds**0.5, random.random()))
                attack(case, Path(name), number, random.Random(number))

        threads = [threading.Thread(target=work) for _ in range(options.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    total = sum(case.kills for case in cases)
    faults = [fault for case in cases for fault in case.faults]
    note = f"{total:,} kills at random moments; every result was compared with that of a run that nobody killed."
    publish("kills", versions("torch", "h5py"), [Table("kill -9", COLUMNS, [case.row() for case in cases], note)])
    if faults:
        sys.exit("\n".join(faults))


# --- the work -------------------------------------------------------------------------------------


def prepared(folder: Path) -> list[Case]:
    """All cases, with their references."""
    rows = digits_job(folder, PARTS * PART_ROWS, compute={"batch_rows": 128}, output={"part_rows": PART_ROWS})
    network = {"factory": "xattr_cli.models.zoo:mlp", "kwargs": {"inputs": 4, "hidden": [8], "outputs": 3}}
    torch.manual_seed(0)
    torch.save(mlp(4, [8], 3).state_dict(), folder / "mlp.pt")
    draw = np.random.default_rng(0)
    a = draw.normal(size=(240, 1))
    b, c = a + draw.normal(size=(240, 1)), draw.normal(size=(240, 1))
    np.savez(folder / "table.npz", X=np.hstack([a, b, c, b * c]).astype(np.float32))

    for fold in range(3):
        torch.manual_seed(1 + fold)
        torch.save(mlp(4, [8], 3).state_dict(), folder / f"fold{fold}.pt")

    def job(name: str, engines: dict[str, Any], weights: dict[str, Any] | None = None, **more: Any) -> Path:
        dataset = {"path": "table.npz", "labels": None, "features": ["a", "b", "c", "d"]}
        model = {**network, **(weights or {"checkpoint": "mlp.pt"})}
        compute = {"device": "cpu", "batch_rows": 128}
        return write_job(
            folder, f"{name}.yaml", model=model, dataset=dataset, engines=engines, compute=compute, **more
        )

    graph = {"b": ["a"], "d": ["b", "c"]}
    finish(folder, ["run", rows], folder / "warm.h5")  # the process that forks has read everything by now
    jobs = {
        "parts of rows": rows,
        "interactions": job("hessians", {"integrated_hessians": {}}, output={"part_rows": 20}),
        "folds": job("folds", {"integrated_gradients": {}}, {"checkpoints": "fold*.pt"}, output={"part_rows": 20}),
        "average causal effects": job("ace", {"ace": {"alphas": 50}}),
        "contributions, with the fit of their flow": job("icc", {"icc": {"graph": graph}}),
    }
    cases = []
    for name, path in jobs.items():
        reference = folder / f"{path.stem}-reference.h5"
        began = time.monotonic()
        finish(folder, ["run", path], reference)
        cases.append(Case(name, ["run", path], reference, seconds=time.monotonic() - began))
    first = cases[0]
    cases.append(Case("shards", ["run", rows], first.reference, shards=SHARDS, seconds=first.seconds))
    link = Case("--overwrite", ["run", rows, "--overwrite"], first.reference, seconds=first.seconds)
    link.prepare = lambda output: os.link(first.reference, output)
    return [*cases, link, merging(folder, rows)]


def merging(folder: Path, rows: Path) -> Case:
    """The merge of many parts, which are linked for every trial."""
    data = np.load(folder / "data.npz")
    repeated = np.arange(MERGED_PARTS) % len(data["X"])
    np.savez(folder / "many.npz", X=data["X"][repeated], y=data["y"][repeated])
    many = digits_job(
        folder, PARTS * PART_ROWS, "many.yaml", engines={"saliency": None, "input_x_gradient": None},
        dataset={"path": "many.npz"}, compute={"batch_rows": 128}, output={"part_rows": 1},
    )  # fmt: skip
    complete, reference = folder / "complete.h5", folder / "many-reference.h5"
    finish(folder, ["run", many, "--shard", "1/1"], complete)

    def link(output: Path) -> None:
        target = output.with_name(f"{output.name}.parts")
        target.mkdir()
        for path in complete.with_name("complete.h5.parts").iterdir():
            if path.suffix != ".lock":
                os.link(path, target / path.name)

    link(reference)
    began = time.monotonic()
    finish(folder, ["merge", many], reference)
    return Case("merge of 1,500 parts", ["merge", many], reference, link, seconds=time.monotonic() - began)


def command(folder: Path, arguments: list[Any], output: Path, *more: str) -> Any:
    """The process of a command; what it prints lies in a folder of its own."""
    prints = folder / f"prints-{output.name}-{'-'.join(more).replace('/', '-of-')}"
    prints.mkdir(exist_ok=True)
    return fork(prints, arguments[0], arguments[1], "--set", f"output.path={output}", *arguments[2:], *more)


def finish(folder: Path, arguments: list[Any], output: Path) -> None:
    """Run a command to its end, which must be a good one."""
    process = command(folder, arguments, output)
    if process.wait(600) != 0:
        raise RuntimeError(f"{arguments}: {process.stderr}")


# --- the kills ------------------------------------------------------------------------------------


def attack(case: Case, folder: Path, number: int, draw: random.Random) -> None:
    """Kill a few runs of the same job, let the last one pass, and compare."""
    output = folder / f"trial-{number}.h5"
    case.prepare(output)
    before = output.stat().st_ino if output.exists() else None
    for _ in range(draw.randrange(3, 8)):
        if output.exists() and output.stat().st_ino != before:
            break
        kill(case, folder, output, draw)
    try:
        for shard in shards_of(case):
            process = command(folder, case.arguments, output, *shard)
            if process.wait(600) != 0:
                raise RuntimeError(process.stderr)
        if case.shards:
            finish(folder, ["merge", case.arguments[1]], output)
        judge(case, output)
    except (RuntimeError, OSError, AssertionError) as error:
        case.lost += 1
        case.faults.append(f"{case.name}: {output.name}: {error}")
    for path in folder.glob(f"*{output.name}*"):
        if path.is_file():
            path.unlink()


def shards_of(case: Case) -> list[tuple[str, ...]]:
    """Options of the processes that share the work."""
    return [("--shard", f"{index}/{case.shards}") for index in range(1, case.shards + 1)] or [()]


def kill(case: Case, folder: Path, output: Path, draw: random.Random) -> None:
    """Start what the job takes, and kill all of it at a random moment."""
    processes = [command(folder, case.arguments, output, *shard) for shard in shards_of(case)]
    time.sleep(draw.uniform(0, 1.1 * case.seconds / max(1, case.shards)))
    parts = output.with_name(f"{output.name}.parts")
    has_begun = bool(parts_of(folder, output.name)) or any(parts.glob("memo-*.h5"))
    for process in processes:
        if process.poll() is None:
            process.signal(signal.SIGKILL)
    for process in processes:
        if process.wait() == -signal.SIGKILL:
            case.kills += 1
            case.computing += has_begun


def judge(case: Case, output: Path) -> None:
    """Compare a result with the reference, and see that nothing is left over."""
    case.compared += 1
    different = differences(output, case.reference)
    case.unequal += bool(different)
    with h5py.File(output) as found, h5py.File(case.reference) as expected:
        rows = [len(file["rows/id"]) if "rows/id" in file else 0 for file in (expected, found)]
    case.lost += rows[0] - rows[1]
    left = [
        path.name
        for path in output.parent.iterdir()
        if path.name.startswith((f"{output.name}.parts", f".{output.name}"))
    ]
    case.leftovers += bool(left)
    if different or left or rows[0] != rows[1]:
        case.faults.append(f"{case.name}: {output.name}: {different}, left: {left}, rows: {rows}")


if __name__ == "__main__":
    main()
