"""The tables of bench_speed.py on a GPU, and what only a GPU has: TF32, CUDA graphs, memory of its own.

Captum, the bare network and ours compute in float32, TF32 off. Torch rounds the factors of convolutions and of
recurrent layers to TF32 unless it is told otherwise: a table says what that does to captum's maps and to its time.

Example: python -m scripts.benchmarks.bench_gpu --cases "digits CNN" --repetitions 5
"""

from __future__ import annotations

import argparse
import copy
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor

from scripts.benchmarks.bench_speed import (
    DEFAULT_STEPS,
    MOST_STEPS,
    TARGET_ROWS,
    TIMING_ROWS,
    TOLERANCE,
    Captum,
    bare_table,
    evaluation_table,
    fastest_internal,
    measure,
    peer_table,
    per_evaluation,
    percentile,
    smallest_steps,
    target_table,
    ten_targets,
)
from scripts.benchmarks.benchlib import Table, alternate, publish, versions
from scripts.benchmarks.speed_cases import CASES, SpeedCase, network, timing_cases, true_error
from xattr_cli.device import Measured, Pinned, Workload, device_name, measure_executions
from xattr_cli.pipeline.opening import open_session
from xattr_cli.pipeline.run import run_job

MEMORY_ROWS = (1_000, 10_000)
MEMORY_ALLOWED = 1.1
COPIES = 8  # of the timed photographs: four are no full call of a GPU
DRIFT_ALLOWED = 0.1 * TOLERANCE
LONG = 10**10  # rows: a job for which every way of running the network is worth a trial
AS_IT_IS = {"batch_rows": 512, "memory_format": "contiguous", "arithmetic": "float32", "compile": False}
"""The same calls in a short job and in a long one, which would try ways of running the network."""
ARITHMETICS: Mapping[str, bool | None] = {"float32": False, "torch's default": None, "TF32": True}


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        repetitions: of every timing.
        cases: whose tables are made, on the CPU.
        digits: those of the tables of targets and of memory.
        timed: of the table of seconds per gradient.
        memory: rows of the jobs whose memory is compared.
    """

    repetitions: int
    cases: Iterable[SpeedCase]
    digits: SpeedCase
    timed: Iterable[SpeedCase]
    memory: tuple[int, int] = MEMORY_ROWS


def full_size(repetitions: int, names: Sequence[str]) -> Size:
    """That of bench_speed.py."""
    cases = (make(rows) for make, rows in (CASES[name] for name in names))
    return Size(repetitions, cases, CASES["digits CNN"][0](TARGET_ROWS), timing_cases(TIMING_ROWS))


def quick_size(rows: int = 6) -> Size:
    """Networks that nobody has trained, on noise: to see that everything runs."""
    torch.manual_seed(0)
    shapes = {"MLP": (rows, 30), "digits CNN": (rows, 1, 8, 8), "resnet18": (1, 3, 16, 16)}
    mlp, digits, resnet = (
        SpeedCase(name, network(name).eval().requires_grad_(False), torch.rand(shape))
        for name, shape in shapes.items()
    )
    return Size(1, [mlp], digits, [resnet], memory=(20, 40))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="*", choices=CASES, default=[*CASES], help="default: all")
    parser.add_argument("--repetitions", type=int, default=5, help="of every timing; at least 5 (default: 5)")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N; or cpu, to try this script out")
    parser.add_argument("--quick", action="store_true", help="seconds, on noise; prints, publishes nothing")
    options = parser.parse_args(arguments)
    device = found_device(options.device)
    size = quick_size() if options.quick else full_size(options.repetitions, options.cases)
    tables: dict[str, Table] = {}
    for table in tables_on(device, size):
        tables[table.title] = table
        if options.quick or device.type != "cuda":
            print(table.markdown())
        else:
            publish("speed_gpu", facts(device, size), [*tables.values()])


def found_device(name: str) -> torch.device:
    """The device, if it is there; otherwise says why not, with exit code 2."""
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        reason = "torch was built without CUDA" if torch.version.cuda is None else "none is visible to torch"
        print(f"no CUDA device here: {reason} ({name})", file=sys.stderr)
        raise SystemExit(2)
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def facts(device: torch.device, size: Size) -> dict[str, Any]:
    """What the numbers depend on."""
    cuda = {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}
    found = {"device": device_name(device), **versions("torch", "captum")}
    return found | (cuda if device.type == "cuda" else {}) | {"repetitions": size.repetitions}


def tables_on(device: torch.device, size: Size) -> Iterator[Table]:
    """All tables, each again with every network that has been measured."""
    cases = [case.on(device, tf32=False) for case in size.cases]
    peers: list[Any] = []
    bare: list[Any] = []
    for case in cases:
        rows, row = measure(case, size.repetitions)
        peers, bare = [*peers, *rows], [*bare, row]
        yield in_float32(peer_table(peers))
        yield in_float32(bare_table(bare))
    yield from _growing(arithmetic_table, (arithmetics(case, size.repetitions) for case in cases))
    yield from _growing(ways_table, (ways(case) for case in cases))
    yield target_table([ten_targets(size.digits.on(device, tf32=False), size.repetitions)])
    peak_memory(size.digits, device, size.memory[0])  # libraries take their work space once, and keep it
    yield memory_table([peak_memory(size.digits, device, rows) for rows in size.memory])
    timed = (_copied(case, COPIES).on(device, tf32=False) for case in size.timed)
    seconds = [per_evaluation(case, size.repetitions) for case in timed]
    yield in_float32(evaluation_table(seconds, COPIES * TIMING_ROWS))


def in_float32(table: Table) -> Table:
    """Says what everybody computes in."""
    return replace(table, note=f"{table.note} Everything in float32, TF32 off.")


def _growing(table: Callable[[list[Any]], Table], rows: Iterable[list[Any]]) -> Iterator[Table]:
    found: list[Any] = []
    for some in rows:
        found = [*found, *some]
        yield table(found)


def _copied(case: SpeedCase, times: int) -> SpeedCase:
    return replace(case, inputs=case.inputs.repeat(times, *(1 for _ in case.inputs.shape[1:])))


# --- what rounding does to captum's maps ----------------------------------------------------------


def arithmetic_table(rows: list[Any]) -> Table:
    columns = {"network": "", "rows": "d", "products in": "", "off float64, median": ".1e",
               "off float64, p95": ".1e", "off float64, largest": ".1e", "true error, p95": ".1%",
               "seconds": ".4f", "smallest n_steps": "d", "its seconds": ".4f"}  # fmt: skip
    note = (
        f"Captum, n_steps {DEFAULT_STEPS}: relative L2 distance of each map to that in float64 at the same nodes, "
        "which is rounding and nothing else; the true error has that of the rule in it too. Torch's default is "
        "TF32 in convolutions and recurrent layers; `TF32` has it in matrix products too. The last columns: the "
        f"smallest n_steps, found by an oracle, with maps right within {TOLERANCE:.0%} in 95 % of the rows; – if "
        f"{MOST_STEPS} are not enough."
    )
    return Table("What TF32 does to captum's maps", columns, rows, note)


def arithmetics(case: SpeedCase, repetitions: int) -> list[list[Any]]:
    """The rows of a network."""
    internal = fastest_internal(case)
    exact = Captum(in_float64(case), DEFAULT_STEPS, max(1, internal // 2)).attribute()  # in twice the memory
    start = [case.name, len(case.inputs)]
    ways_of_rounding = [(name, rounded(case, tf32)) for name, tf32 in ARITHMETICS.items()]
    return [[*start, name, *_arithmetic(one, internal, exact, repetitions)] for name, one in ways_of_rounding]


def rounded(case: SpeedCase, tf32: bool | None) -> SpeedCase:
    """The same targets and the same truth, in another arithmetic."""
    return replace(case, classes=case.target, known=case.truth, tf32=tf32)


def in_float64(case: SpeedCase) -> SpeedCase:
    """The same targets; the network and its inputs in double precision."""
    module = copy.deepcopy(case.module).double()
    return replace(case, module=module, inputs=case.inputs.double(), classes=case.target)


def _arithmetic(case: SpeedCase, internal: int, exact: Tensor, repetitions: int) -> list[Any]:
    captum = Captum(case, DEFAULT_STEPS, internal)
    maps = captum.attribute()
    apart = true_error(maps, exact.flatten(1).double().cpu())
    oracle = _oracle(case)
    timed = {"default": captum} | ({} if oracle is None else {"oracle": Captum(case, oracle, internal)})
    seconds = alternate({key: one.attribute for key, one in timed.items()}, repetitions)
    spread = [float(value) for value in (apart.median(), apart.quantile(0.95), apart.max())]
    costs = [median(seconds[key]) if key in seconds else None for key in ("default", "oracle")]
    return [*spread, percentile(case, maps), costs[0], oracle, costs[1]]


def _oracle(case: SpeedCase) -> int | None:
    try:
        return smallest_steps(case)
    except SystemExit:
        return None


# --- ways of running a network --------------------------------------------------------------------


def ways_table(rows: list[Any]) -> Table:
    columns = {"network": "", "rows a call": "d", "way": "", "µs a gradient": ".2f", "drift": ".1e", "verdict": ""}
    note = (
        "As a long job tries them on its first rows; `compiled` is by CUDA graphs. Drift: the largest relative L2 "
        f"distance of a map to that in true float32; more than {DRIFT_ALLOWED:.1%} is refused."
    )
    return Table("Ways of running a network", columns, rows, note)


def ways(case: SpeedCase) -> list[list[Any]]:
    """The rows of a network."""
    with case.opened(rtol=TOLERANCE) as job, open_session(job) as session:
        block = session.block(session.read_rows(slice(0, 2)))
        (demand,) = session.sweeps.values()
        found = measure_executions(
            session.scorer,
            block.inputs,
            block.reference(demand.baseline),
            block.rows.context,
            block.rows.target,
            pins=Pinned(),
            workload=Workload(LONG, known=0.0, rtol=TOLERANCE),
            tolerance=DRIFT_ALLOWED,
        )
        return [[case.name, session.scorer.packing.rows, *_way(one)] for one in found]


def _way(found: Measured) -> list[Any]:
    return [str(found.how), found.seconds * 1e6, found.drift, found.verdict]


# --- memory ---------------------------------------------------------------------------------------


def memory_table(rows: list[tuple[int, int | None]]) -> Table:
    (_, few), (_, many) = rows
    ratio = many / few if few and many else None
    found = [(count, None if peak is None else peak / 2**20, None) for count, peak in rows]
    found[-1] = (*found[-1][:2], ratio)
    note = f"Digits CNN, whole jobs; allowed: {MEMORY_ALLOWED} times as much for ten times as many rows."
    return Table("Peak memory of the device", {"rows": ",d", "MiB": ".1f", "ratio": ".3f"}, found, note)


def peak_memory(case: SpeedCase, device: torch.device, rows: int) -> tuple[int, int | None]:
    """Rows, and the most bytes that tensors of a whole job took on a CUDA device; None on any other."""
    on_cuda = device.type == "cuda"
    case = replace(_repeated(case, rows), options={"compute": {"device": str(device), **AS_IT_IS}})
    with case.opened(rtol=TOLERANCE) as job:
        gc.collect()
        if on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) if on_cuda else 0
        run_job(job, overwrite=True)
        return rows, torch.cuda.max_memory_allocated(device) - before if on_cuda else None


def _repeated(case: SpeedCase, rows: int) -> SpeedCase:
    """As many rows, those of the case again and again with a little noise."""
    number = torch.arange(rows) % len(case.inputs)
    noise = 0.02 * torch.randn(rows, *case.inputs.shape[1:], generator=torch.Generator().manual_seed(0))
    return replace(case, inputs=(case.inputs[number] + noise).clamp(0, 1))


if __name__ == "__main__":
    main()
