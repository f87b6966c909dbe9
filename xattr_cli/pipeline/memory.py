"""What a job holds while it explains rows: parts, device calls, and the rows that are worked on at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ..device import Execution, Packing, Scorer, rows_per_call
from ..device.packing import FEWEST_ROWS
from ..device.places import MOST_SHARED
from ..engines.base import Engine, LocalEngine
from ..engines.sweeps import SweepRequest
from ..errors import JobError
from ..job.config import Job
from ..numerics.paths.node_record import SKETCH_SIZE
from ..numerics.paths.panels import MOST_PANELS
from ..numerics.paths.quadrature import AdaptiveRule
from ..samples import InputSpec
from .parts import PartPlan, row_engines

__all__ = ["Footprint", "Settings", "WorkingMemory", "check_memory", "footprint_of", "memory_of", "settle"]

MEMORY_BYTES = 2**30
CUDA_SHARE = 1 / 4
"""Of a card's memory, for rows that are worked on; device calls take another share, see `device.packing`."""

CALL_COPIES = 8  # points, leaves, gradients, Δ, which of them are finite, weighted ones, their sketches
BLOCK_COPIES = 4  # input, baseline, Δ and map
JUDGED_COPIES = 3  # float64, of an integral whose error is found
SAMPLED_COPIES = 6  # float64, mean, squares and estimates of a sampled map, and the new ones beside them
NODE_BYTES = 200  # position, weights and sums of a node, and its order while nodes are sorted
CELL_ROWS = 16
"""Rows that a device call of secant cells has at least, as far as memory allows.

A path that a call cuts goes on at the node where it was cut, which is computed twice. A cell of efficientnet-lite0
(78 MiB a row), in gradients of a call of 4 rows: 2.1 in calls of 4, 1.6 of 8, 1.35 of 16.
"""
SECOND_ORDER = 4  # times the activations of a gradient that a Hessian-vector product holds


@dataclass(frozen=True)
class Footprint:
    """Bytes that explaining rows takes beside network and data.

    Attributes:
        part: results of a part and of the one that is being written, and samples that are read ahead.
        call: of a device call, for each of its rows.
        row: of every row that is worked on, if it takes all the nodes that it may.
    """

    part: int = 0
    call: int = 1
    row: int = 1

    def of(self, rows_per_call: int, rows_at_once: int) -> int:
        """Bytes together."""
        return self.part + self.call * rows_per_call + self.row * rows_at_once


class WorkingMemory:
    """How many rows a device call takes, and how many are worked on at once, within the memory of a job.

    Arguments:
        footprint: of the job.
        memory: bytes.
        binding: whether the job file names them: then they bound device calls, too.
    """

    def __init__(self, footprint: Footprint, memory: int, *, binding: bool) -> None:
        self.footprint, self.memory, self.binding = footprint, memory, binding
        self._most: int | None = None

    def rows_per_call(self, most: int) -> int:
        """As many of `most` as leave half of the memory to the rows that are worked on, but at least 4."""
        rows, share = most, (self.memory - self.footprint.part) // 2
        while self.binding and rows // 2 >= FEWEST_ROWS and self.footprint.call * rows > share:
            rows //= 2
        return rows

    def rows_of_cells(self, rows: int) -> int:
        """Rows of a device call of secant cells, where one of gradients takes `rows`."""
        more = rows
        while more < CELL_ROWS and 2 * more * self.footprint.call <= self.memory and not self.missing(2 * more):
            more *= 2
        return self.rows_per_call(more) if more > rows else rows

    def rows_at_once(self, rows_per_call: int) -> int:
        """How many rows can be worked on beside a device call, at least one; settled when first asked for."""
        if self._most is None:
            left = self.memory - self.footprint.of(rows_per_call, 0)
            left = left if self.binding else max(left, self.memory // 2)
            self._most = max(1, left // self.footprint.row)
        return self._most

    def allow(self, rows: int) -> None:
        """Work on no more than `rows` from now on: with more, memory ran out."""
        self._most = rows

    def missing(self, rows_per_call: int) -> int | None:
        """Bytes that are needed if the memory that was asked for does not suffice even for a single row."""
        least = self.footprint.of(rows_per_call, 1)
        return least if self.binding and least > self.memory else None


def footprint_of(
    engines: Mapping[str, Engine],
    demands: Iterable[SweepRequest],
    specs: Sequence[InputSpec],
    *,
    itemsize: int,
    activations: int,
    input_bytes: int,
    part_rows: int,
    targets: int,
) -> Footprint:
    """The footprint of a job.

    Arguments:
        engines: all that explain rows.
        demands: their sweeps, each of which is kept until all engines are done with a block.
        specs: of the explained tensors.
        itemsize: bytes of a number.
        activations: bytes that a row of a device call leaves for its backward pass.
        input_bytes: of a sample.
        part_rows: of a part.
        targets: whose gradients one call forms.
    """
    demands, dim = list(demands), sum(spec.size for spec in specs)
    marks = max((len(demand.marks) + 1 for demand in demands), default=0)
    twice = any(engine.second_order for engine in engines.values())
    results = itemsize * sum(_numbers(engine, specs, dim) for engine in engines.values())
    sweeps = sum(_sweep_bytes(dim, itemsize, demand) for demand in demands)
    samples = any(isinstance(engine, LocalEngine) and engine.path() is None for engine in engines.values())
    float64_copies = SAMPLED_COPIES if samples else JUDGED_COPIES
    return Footprint(
        part=part_rows * (2 * results + 2 * -(-input_bytes // targets)),
        call=activations * (SECOND_ORDER if twice else 1) + (CALL_COPIES + targets + marks) * itemsize * dim,
        row=2 * results + sweeps + (BLOCK_COPIES * itemsize + 8 * float64_copies) * dim,
    )


def _numbers(engine: Any, specs: Sequence[InputSpec], dim: int) -> int:
    """In an engine's results for a row: its map with a standard error, or maps along the path; matrices."""
    if not isinstance(engine, LocalEngine):
        return dim
    demand = engine.path()
    maps = 2 if demand is None else 1 + 2 * demand.curves * (len(demand.marks) + 1)
    return maps * dim + 2 * engine.values_per_row(specs)


def _sweep_bytes(dim: int, itemsize: int, demand: SweepRequest) -> int:
    rule, marks = demand.rule, len(demand.marks) + 1
    if not isinstance(rule, AdaptiveRule):
        return 2 * BLOCK_COPIES * itemsize * dim + NODE_BYTES * rule.nodes
    # the panels' sums are copied when rows are done; integrals are kept, and formed anew after each round
    sums = 2 * min(MOST_PANELS, rule.intervals) * marks + 4 * marks + BLOCK_COPIES
    # nodes are remembered by their sketches, which are copied when new ones come
    node = 2 * itemsize * min(dim, SKETCH_SIZE) + NODE_BYTES + 16 * marks
    return sums * itemsize * dim + node * (rule.max_nodes + 1)


@dataclass(frozen=True)
class Settings:
    """How a job is run; settled once, before anything is computed.

    Attributes:
        rows_per_call: of a device call, unless the network takes only one number of rows.
        working: how many rows are worked on at once.
        execution: how the network is run.
    """

    rows_per_call: int
    working: WorkingMemory
    execution: Execution = field(default_factory=Execution)

    def following(self, plan: Mapping[str, Any], job: Job) -> Settings:
        """These settings with what an earlier run of the job has settled, unless this one is given less memory."""
        rows = self.rows_per_call
        if job.compute.batch_rows == "auto":
            rows = self.working.rows_per_call(plan["batch_rows"])
        return replace(self, rows_per_call=rows, execution=Execution(**plan["execution"]))

    def applied_to(self, scorer: Scorer) -> Scorer:
        """The network, run in this way; itself if it is run so already."""
        rows = scorer.packing.rows if scorer.packing.fixed else self.rows_per_call
        if (rows, self.execution) == (scorer.packing.rows, scorer.execution):
            return scorer
        packing = Packing(rows, fixed=scorer.packing.fixed)
        curved = {key: each.packed(packing) for key, each in scorer.curvatures.items()}
        return replace(scorer, packing=packing, execution=self.execution, curvatures=curved)


def memory_of(job: Job) -> int:
    """Bytes that a method may hold at once, beside network and data."""
    asked = job.compute.memory
    return MEMORY_BYTES if asked == "auto" else asked


def settle(
    job: Job,
    scorer: Scorer,
    parts: PartPlan,
    sweeps: Iterable[SweepRequest],
    inputs: Sequence[InputSpec],
    activations: int,
) -> Settings:
    """Settle how many rows a device call takes, and how many are worked on at once.

    Arguments:
        job: what it is given, and what it asks for.
        scorer: the network.
        parts: of the job.
        sweeps: of its engines.
        inputs: of the dataset.
        activations: bytes that a row of a device call leaves for its backward pass.
    """
    footprint = footprint_of(
        row_engines(job),
        sweeps,
        scorer.layout.specs,
        itemsize=scorer.dtype.itemsize,
        activations=activations,
        input_bytes=sum(spec.size * spec.dtype.itemsize for spec in inputs),
        part_rows=min(parts.part_rows, parts.rows),
        targets=min(parts.rows_per_sample, MOST_SHARED),
    )
    working = WorkingMemory(footprint, _memory_of_rows(job, scorer.device), binding=job.compute.memory != "auto")
    if scorer.packing.fixed:
        return Settings(scorer.packing.rows, working)
    asked = job.compute.batch_rows
    rows = working.rows_per_call(rows_per_call(scorer, activations)) if asked == "auto" else asked
    return Settings(rows, working)


def check_memory(job: Job, settings: Settings, parts: PartPlan) -> None:
    """Refuse an amount of memory that not even a single row fits into.

    Raises:
        JobError: says how much is needed, and what for.
    """
    rows, working = settings.rows_per_call, settings.working
    needed = working.missing(rows)
    if needed is None or not parts.rows:
        return
    share, footprint = _share(job), working.footprint
    part_rows = min(parts.part_rows, parts.rows)
    twice = " Second derivatives take as much again, which is in these numbers." if share > 1 else ""
    raise JobError(
        f"compute.memory: {_mebibytes(share * working.memory)} is not enough, a single row needs about "
        f"{_mebibytes(share * needed)}: {_mebibytes(share * footprint.part)} for parts of {part_rows} rows "
        f"(output.part_rows), {_mebibytes(share * footprint.call * rows)} for device calls of {rows} "
        f"(compute.batch_rows), and {_mebibytes(share * footprint.row)} for itself (max_nodes).{twice} Raise the "
        "memory, or lower one of these."
    )


def _memory_of_rows(job: Job, device: torch.device) -> int:
    """Bytes for parts, calls and rows."""
    memory = memory_of(job)
    if job.compute.memory == "auto" and device.type == "cuda":
        memory = max(memory, int(torch.cuda.get_device_properties(device).total_memory * CUDA_SHARE))
    return memory // _share(job)


def _share(job: Job) -> int:
    """Engines of second order hold half of the memory beside what is counted here."""
    return 2 if any(engine.second_order for engine in row_engines(job).values()) else 1


def _mebibytes(count: int) -> str:
    return f"{-(-count // 2**20):,d} MiB"
