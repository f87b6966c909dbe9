"""Whole jobs against captum at equal accuracy, and against the gradient passes of the bare network.

Captum is run as people run it (its defaults: 50 Gauss-Legendre nodes, `internal_batch_size` tuned by hand), and as
an oracle would who knows the truth: the smallest `n_steps` whose maps are right within 5 % in 95 % of the rows.

Example: python -m scripts.benchmarks.bench_speed --cases MLP BiLSTM --repetitions 5
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from scripts.benchmarks.benchlib import RESULTS, Table, alternate, median_ratio, publish, versions
from scripts.benchmarks.speed_cases import CASES, SpeedCase, evaluations_of, maps_of, timing_cases, true_error
from xattr_cli.job.config import Job
from xattr_cli.pipeline.opening import open_session
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import Results

TOLERANCE = 0.05
DEFAULT_STEPS = 50
MOST_STEPS = 600
JUDGED_ROWS = 1000
"""On so many it is found out which settings are right, and which are fastest."""
SEARCHED_CALLS = {True: 32, False: 512}  # for large inputs, and for small ones
SEARCHED_STEPS = 8  # of the search for the fastest calls, where a call of all steps would take minutes
TARGETS = 10
TARGET_ROWS = 500
TIMING_ROWS = 8
TIMED_NODES = 24
CALLS = {
    ("cpu", True): (4, 8, 16, 32),
    ("cpu", False): (64, 128, 256, 512, 1024, 2048),
    ("cuda", True): (16, 32, 64, 128, 256),
    ("cuda", False): (512, 1024, 2048, 4096, 8192, 16384),
}
"""Rows of a call that are tried, by device, for large inputs and for small ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="*", choices=CASES, default=[*CASES], help="default: all")
    parser.add_argument("--repetitions", type=int, default=5, help="of every timing; at least 5 (default: 5)")
    parser.add_argument("--rows", type=int, help="of the cases (default: 8 photographs, 1,000 others)")
    parser.add_argument("--only", choices=("cases", "targets", "evaluations"), help="one table; default: all")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch finds them)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    kept = _kept()
    if options.only in (None, "cases"):
        for name in options.cases:
            make, usual = CASES[name]
            rows = options.rows or usual
            label = name if rows == usual else f"{name}, {rows} rows"
            kept["peers"][label], kept["bare"][label] = measure(make(rows), options.repetitions)
            _show(kept, options.repetitions)
    if options.only in (None, "evaluations"):
        kept["evaluations"] = [per_evaluation(case, options.repetitions) for case in timing_cases(TIMING_ROWS)]
    if options.only in (None, "targets"):
        kept["targets"] = [ten_targets(CASES["digits CNN"][0](TARGET_ROWS), options.repetitions)]
    _show(kept, options.repetitions)


def _kept() -> dict[str, Any]:
    """Rows that were measured before: one case may be measured again alone."""
    path = RESULTS / "speed.rows.json"
    empty: dict[str, Any] = {"peers": {}, "bare": {}, "evaluations": [], "targets": []}
    return {**empty, **json.loads(path.read_text())} if path.exists() else empty


def _show(kept: dict[str, Any], repetitions: int) -> None:
    (RESULTS / "speed.rows.json").write_text(json.dumps(kept, indent=1) + "\n")
    facts = {"threads": torch.get_num_threads(), "repetitions": repetitions, "cores": os.cpu_count()}
    tables = [
        peer_table([row for label in _in_order(kept["peers"]) for row in kept["peers"][label]]),
        bare_table([kept["bare"][label] for label in _in_order(kept["bare"])]),
        evaluation_table(kept["evaluations"]),
        target_table(kept["targets"]),
    ]
    publish("speed", versions("torch", "captum") | facts, [table for table in tables if table.rows])


def _in_order(labels: Iterable[str]) -> list[str]:
    """Case after case, each as it is measured by default first."""
    return sorted(labels, key=lambda label: ([*CASES].index(label.partition(",")[0]), label))


# --- tables ---------------------------------------------------------------------------------------


def peer_table(rows: list[Any]) -> Table:
    columns = {"network": "", "rows": "d", "method": "", "gradients a row": ".1f", "true error, p95": ".1%",
               "seconds": ".3f", "times ours": ".2f", "times ours, tuned": ".2f"}  # fmt: skip
    note = (
        "Integrated gradients of the predicted logit, whole jobs, without starting Python: captum's is a script "
        "that reads the same checkpoint and rows, finds the predicted classes and writes the maps with h5py; ours "
        "does so too, checks everything, measures how the network runs best, and leaves durable parts and a "
        "merged file with error bars. At rtol 0.05 rows stop by their own error bars. Methods with an asterisk "
        "know the truth: the largest rtol, or the smallest n_steps, whose maps are right within 5 % in 95 % of "
        "the rows. Captum makes its fastest calls."
    )
    return Table("Time to maps that are right within 5 % in 95 % of the rows", columns, rows, note)


def bare_table(rows: list[Any]) -> Table:
    columns = {"network": "", "rows": "d", "gradients": ".0f", "bare, rows a call": "d", "bare seconds": ".3f",
               "run seconds": ".3f", "start-up seconds": ".3f", "run / bare": ".2f",
               "how ours was run": ""}  # fmt: skip
    note = (
        "bare: as many gradients by autograd alone, in calls of the fastest size and memory format. Start-up, "
        "which the ratio leaves out: loading network and data, and all checks before the first gradient."
    )
    return Table("What a whole run costs beyond the bare network", columns, rows, note)


def evaluation_table(rows: list[Any], photographs: int = TIMING_ROWS) -> Table:
    columns = {"network": "", "ours, s": ".4f", "captum, s": ".4f", "captum / ours": ".2f",
               "how ours was run": ""}  # fmt: skip
    note = f"{photographs} photographs of 224 × 224 pixels, random weights; captum with its fastest calls."
    return Table("Seconds per gradient", columns, rows, note)


def target_table(rows: list[Any]) -> Table:
    columns = {"network": "", "rows": "d", "one target, s": ".3f", f"{TARGETS} targets, s": ".3f", "ratio": ".2f",
               "gradients a row, one": ".1f", f"gradients a row, {TARGETS}": ".1f",
               "ratio per gradient": ".2f"}  # fmt: skip
    note = f"Predicted logit against all {TARGETS}; whole jobs. Other targets take more nodes."
    return Table(f"{TARGETS} targets of a sample", columns, rows, note)


# --- measuring ------------------------------------------------------------------------------------


def measure(case: SpeedCase, repetitions: int) -> tuple[list[Any], list[Any]]:
    """Rows of the first two tables."""
    judged = case.first(JUDGED_ROWS)
    oracle = smallest_steps(judged)
    tuned = largest_rtol(judged)
    internal = fastest_internal(judged)
    default, best = (Captum(case, steps, internal) for steps in (DEFAULT_STEPS, oracle))
    with case.opened(rtol=TOLERANCE) as job, case.opened(rtol=tuned) as tuned_job:
        run_job(job, overwrite=True)
        gradients = round(evaluations_of(job) * len(case.inputs))
        bare = replace(fastest_bare(judged), case=case)
        seconds = alternate(
            {
                "ours": partial(run_job, job, overwrite=True),
                "tuned": partial(run_job, tuned_job, overwrite=True),
                "start-up": partial(_open, job),
                "default": partial(default.run, job),
                "oracle": partial(best.run, job),
                "bare": partial(bare.run, gradients),
            },
            repetitions,
        )
        ours = [
            ("ours", f"xattr-cli, rtol {TOLERANCE}", job),
            ("tuned", f"xattr-cli, rtol {tuned:.3g} *", tuned_job),
        ]
        found = [(key, text, evaluations_of(one), maps_of(one)) for key, text, one in ours]
        how = _how(job)
    found += [("default", f"{default} (as people run it)", float(DEFAULT_STEPS), default.attribute())]
    found += [("oracle", f"{best} *", float(oracle), best.attribute())]
    rows = [
        [case.name, len(case.inputs), text, count, percentile(judged, maps[:JUDGED_ROWS]), median(seconds[key]),
         median_ratio(seconds[key], seconds["ours"]), median_ratio(seconds[key], seconds["tuned"])]
        for key, text, count, maps in found
    ]  # fmt: skip
    costs = [median(seconds[key]) for key in ("bare", "ours", "start-up")]
    work = [whole - opening for whole, opening in zip(seconds["ours"], seconds["start-up"], strict=True)]
    ratio = median_ratio(work, seconds["bare"])
    return rows, [case.name, len(case.inputs), gradients, bare.rows, *costs, ratio, how]


def _open(job: Job) -> None:
    """What a run does before it computes."""
    with open_session(job):
        pass


def _how(job: Job) -> str:
    with Results.open(job.output.path) as results:
        return str(results.attributes["execution"]).partition(" (")[0]


def percentile(case: SpeedCase, maps: Tensor) -> float:
    """95th percentile of the true error."""
    return float(true_error(maps, case.truth).quantile(0.95))


def largest_rtol(case: SpeedCase) -> float:
    """The largest rtol, within a few percent, whose maps are right enough."""
    low, high = TOLERANCE / 4, 0.5
    for _ in range(6):
        middle = (low * high) ** 0.5
        with case.opened(rtol=middle) as job:
            run_job(job, overwrite=True)
            good = percentile(case, maps_of(job)) <= TOLERANCE
        low, high = (middle, high) if good else (low, middle)
    return low


def smallest_steps(case: SpeedCase) -> int:
    """The smallest n_steps whose maps are right enough; searched upwards, from ten on in leaps of a tenth."""
    steps = DEFAULT_STEPS if case.is_large else 1
    while percentile(case, Captum(case, steps, SEARCHED_CALLS[case.is_large]).attribute()) > TOLERANCE:
        steps += max(1, steps // 10)
        if steps > MOST_STEPS:
            raise SystemExit(f"captum does not reach {TOLERANCE:.0%} on {case.name} with {MOST_STEPS} steps")
    return steps


@dataclass(frozen=True)
class Captum:
    """Integrated gradients by captum, by its default rule, Gauss-Legendre."""

    case: SpeedCase
    steps: int
    internal: int | None

    def __str__(self) -> str:
        return f"captum, n_steps {self.steps}, internal_batch_size {self.internal}"

    def run(self, job: Job) -> None:
        """A whole job, as a script would do it: from the files of ours to a file of maps."""
        folder = job.output.path.parent
        case = self.case.read(folder)
        with h5py.File(folder / "captum.h5", "w") as file:
            file["attribution"] = replace(self, case=case).attribute().cpu().numpy()
            file["target"] = case.target.cpu().numpy()

    def attribute(self) -> Tensor:
        """(rows, D) maps."""
        case = self.case
        method = CaptumIntegratedGradients(case.module)
        together = max(1, min(len(case.inputs), self.internal or len(case.inputs)))
        parts = zip(*(t.split(together) for t in (case.inputs, case.target, *case.extra)), strict=True)
        with case.computing():
            maps = [
                method.attribute(
                    inputs,
                    baselines=torch.full_like(inputs, case.start),
                    target=target,
                    additional_forward_args=tuple(extra) or None,
                    n_steps=self.steps,
                    internal_batch_size=self.internal,
                ).flatten(1)
                for inputs, target, *extra in parts
            ]
            return torch.cat(maps)


def fastest_internal(case: SpeedCase) -> int:
    """The fastest internal_batch_size, of powers of two whose activations fit."""
    on_cpu = case.device.type == "cpu"
    few = replace(case, inputs=case.inputs[:4]) if case.is_large and on_cpu else case
    steps = SEARCHED_STEPS if on_cpu else DEFAULT_STEPS
    return fastest({size: Captum(few, steps, size).attribute for size in CALLS[case.device.type, case.is_large]})


@dataclass(frozen=True)
class Bare:
    """Gradients of the network by autograd alone."""

    case: SpeedCase
    rows: int
    channels_last: bool

    def run(self, gradients: int) -> None:
        with self.case.computing():
            self._run(gradients)

    def _run(self, gradients: int) -> None:
        case = self.case
        row = torch.arange(self.rows, device=case.device) % len(case.inputs)
        inputs, target = case.inputs[row], case.target[row, None]
        extra = [tensor[row] for tensor in case.extra]
        for start in range(0, gradients, self.rows):
            here = slice(0, min(self.rows, gradients - start))
            leaf = inputs[here].clone().requires_grad_()
            given = leaf.contiguous(memory_format=torch.channels_last) if self.channels_last else leaf
            outputs = case.module(given, *(tensor[here] for tensor in extra))
            torch.autograd.grad(outputs.gather(1, target[here]).sum(), leaf)


def fastest_bare(case: SpeedCase) -> Bare:
    """The number of rows per call, and the memory format, with which the bare network is fastest."""
    sizes = CALLS[case.device.type, case.is_large]
    sizes = (1, 2, *sizes[:-1]) if sizes[0] < 8 else sizes  # on a CPU, few large rows may be faster
    formats = (False, True) if case.inputs.ndim == 4 else (False,)
    ways = {(size, last): Bare(case, size, last) for size in sizes for last in formats}
    return ways[fastest({key: partial(way.run, 2 * max(sizes)) for key, way in ways.items()})]


def fastest(ways: dict[Any, Callable[[], object]]) -> Any:
    """Name of the way with the best time: a busy machine cannot make a slow one look fast."""
    ways = {name: way for name, way in ways.items() if _fits(way)} if torch.cuda.is_available() else ways
    seconds = alternate({str(name): way for name, way in ways.items()}, 3)
    return min(ways, key=lambda name: min(seconds[str(name)]))


def _fits(way: Callable[[], object]) -> bool:
    """Whether the device has the memory for it."""
    try:
        way()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return False
    return True


def per_evaluation(case: SpeedCase, repetitions: int) -> list[Any]:
    """A row of the third table."""
    internal = fastest_internal(case)
    captum = Captum(case, SEARCHED_STEPS, internal)
    plan = {"memory_format": "channels_last", "fold_batchnorm": True}
    with replace(case, options={"compute": plan}).opened(rtol=1e-9, max_nodes=TIMED_NODES) as job:
        spent: list[float] = []
        ways = {"ours": lambda: spent.append(run_job(job, overwrite=True).seconds), "captum": captum.attribute}
        theirs = alternate(ways, repetitions)["captum"]
        # loading and checking the network is no part of an evaluation; the first round warms up
        ours = [one / (evaluations_of(job) * len(case.inputs)) for one in spent[1:]]
        how = _how(job)
    theirs = [one / (SEARCHED_STEPS * len(case.inputs)) for one in theirs]
    return [case.name, median(ours), median(theirs), median_ratio(theirs, ours), how]


def ten_targets(case: SpeedCase, repetitions: int) -> list[Any]:
    """The row of the last table."""
    every = replace(case, options={"target": "all"})
    with case.opened(rtol=TOLERANCE) as one, every.opened(rtol=TOLERANCE) as ten:
        jobs = {"one": one, "ten": ten}
        seconds = alternate({key: partial(run_job, job, overwrite=True) for key, job in jobs.items()}, repetitions)
        counts = [evaluations_of(job) for job in jobs.values()]
    ratio = median_ratio(seconds["ten"], seconds["one"])
    medians = [median(seconds[key]) for key in jobs]
    return [case.name, len(case.inputs), *medians, ratio, *counts, ratio * counts[0] / counts[1]]


if __name__ == "__main__":
    Path(RESULTS).mkdir(exist_ok=True)
    main()
