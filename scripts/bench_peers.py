"""Wall time to maps of equal accuracy, against captum; and what a whole run costs beyond the bare network.

Example: python scripts/bench_peers.py --rows 200 1000
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from bench_cases import Case, case_of, true_error
from benchlib import ROOT, Table, alternate, median_ratio, publish, versions
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import Tensor

from xattr_cli.config import Job, parse_job
from xattr_cli.engines.base import Explanation
from xattr_cli.run import run_job
from xattr_cli.session import Session, open_session

NETWORKS = ("relu_cnn_maxpool", "gelu_mlp", "gru")
TOLERANCE = 0.05
MOST_STEPS = 500
RTOLS = (0.05, 0.06, 0.07, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3)
SEARCH_REPETITIONS = 3
JOB = """
model: {{kind: python, factory: "bench_cases:network", kwargs: {{name: {name}}}, checkpoint: model.pt}}
dataset: {{kind: arrays, path: rows.npy}}
score: logit
engines: {{integrated_gradients: {{rtol: {rtol}}}}}
output: {{path: attributions.h5}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[200], help="rows to explain (default: 200)")
    parser.add_argument("--repetitions", type=int, default=11, help="of every timing; at least 5 (default: 11)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch finds them)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    peers, overheads = [], []
    for name in NETWORKS:
        for rows in options.rows:
            found = measure(case_of(name, rows), options.repetitions)
            peers += found[0]
            overheads.append(found[1])
    facts = {"threads": torch.get_num_threads(), "repetitions": options.repetitions}
    publish("peers", versions("torch", "captum") | facts, [peer_table(peers), overhead_table(overheads)])


def peer_table(rows: list[tuple[Any, ...]]) -> Table:
    return Table(
        "Time to maps that are right within 5 % in 95 % of the rows",
        {"network": "", "rows": "d", "method": "", "gradients per row": ".1f", "true error, p95": ".1%",
         "seconds": ".3f", "times the first": ".2f"},
        rows,
        "Integrated gradients of the predicted logit from a zero baseline; p95: 95th percentile, against 2048 "
        "intervals. At rtol 0.05 rows stop by their own error bars, which know nothing of the truth. Methods "
        "with an asterisk do: theirs is the largest rtol, or the smallest n_steps, whose maps are right enough; "
        "captum's rows per call and internal_batch_size are the fastest found.",
    )  # fmt: skip


def overhead_table(rows: list[tuple[Any, ...]]) -> Table:
    return Table(
        "What a run costs beyond the bare network",
        {"network": "", "rows": "d", "gradients": "d", "bare, rows per call": "d", "bare seconds": ".3f",
         "engine seconds": ".3f", "run seconds": ".3f", "engine / bare": ".2f", "run / bare": ".2f"},
        rows,
        "bare: as many gradients by autograd alone, in calls of the fastest size; engine: the maps of rows "
        "already read; run: checking, reading, computing, writing parts, merging.",
    )  # fmt: skip


def measure(case: Case, repetitions: int) -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
    """The rows of both tables for one network and number of rows."""
    with Ours.opened(case) as ours, tuned(case) as ours_tuned:
        methods = {
            f"xattr-cli, rtol {TOLERANCE}": ours.method,
            **ours_tuned,
            **fastest_captum(case, smallest_steps(case)),
            f"{Captum(case)} (defaults)": Captum(case).method,
        }
        gradients = ours.gradients()
        calls = fastest_bare(case, gradients)
        seconds = alternate(
            {
                **{name: method.attribute for name, method in methods.items()},
                "run": ours.run,
                "bare": lambda: bare_gradients(case, gradients, calls),
            },
            repetitions,
        )
    first = seconds[next(iter(methods))]
    peers = [peer_row(case, name, method, seconds[name], first) for name, method in methods.items()]
    return peers, overhead_row(case, gradients, calls, {**seconds, "engine": first})


def peer_row(case: Case, name: str, method: Method, seconds: list[float], first: list[float]) -> tuple[Any, ...]:
    error = percentile(true_error(method.attribute(), case.truth))
    rows = len(case.images)
    return (case.name, rows, name, method.gradients, error, median(seconds), median_ratio(seconds, first))


def overhead_row(case: Case, gradients: int, calls: int, seconds: dict[str, list[float]]) -> tuple[Any, ...]:
    medians = [median(seconds[key]) for key in ("bare", "engine", "run")]
    ratios = [median_ratio(seconds[key], seconds["bare"]) for key in ("engine", "run")]
    return (case.name, len(case.images), gradients, calls, *medians, *ratios)


def percentile(error: Tensor) -> float:
    """95th percentile."""
    return float(error.quantile(0.95))


@dataclass(frozen=True)
class Method:
    """A way to get the maps.

    Attributes:
        attribute: returns the maps (rows, D).
        gradients: per row.
    """

    attribute: Callable[[], Tensor]
    gradients: float


# --- ours -----------------------------------------------------------------------------------------


class Ours:
    """A job on the rows of a case: as a whole, and its computation alone."""

    def __init__(self, job: Job, session: Session) -> None:
        self.job = job
        self._session = session
        self._tables = [session.read_rows(session.part(number)) for number in range(session.parts)]
        self._engine = job.engines["integrated_gradients"]

    @classmethod
    @contextmanager
    def opened(cls, case: Case, rtol: float = TOLERANCE) -> Iterator[Ours]:
        """Write checkpoint and rows, and open the job; all files are gone afterwards."""
        scratch = ROOT / "runs"
        scratch.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=scratch) as name:
            folder = Path(name)
            torch.save(case.network.state_dict(), folder / "model.pt")
            np.save(folder / "rows.npy", case.images.numpy())
            job = parse_job(JOB.format(name=case.name, rtol=rtol), folder=folder)
            with open_session(job) as session:
                yield cls(job, session)

    @property
    def method(self) -> Method:
        """To be timed."""
        return Method(self.explain, self.gradients() / self._session.rows)

    def explain(self) -> Tensor:
        """(rows, D) maps of rows that have been read before."""
        return torch.cat([found.attribution for found in self._explanations()])

    def gradients(self) -> int:
        """Gradients of all rows together, by the engine's own account."""
        # one of a row's evaluations is the score of the baseline
        return sum(int((found.evaluations - 1).sum()) for found in self._explanations())

    def run(self) -> None:
        """All of `xattr-cli run` but starting Python."""
        run_job(self.job, overwrite=True)

    def _explanations(self) -> list[Explanation]:
        return [self._engine.explain(self._session.block(table)) for table in self._tables]


@contextmanager
def tuned(case: Case) -> Iterator[dict[str, Method]]:
    """With the largest rtol whose maps are within the tolerance in 95 % of the rows."""
    for rtol in sorted(RTOLS, reverse=True):
        with Ours.opened(case, rtol) as ours:
            if percentile(true_error(ours.explain(), case.truth)) <= TOLERANCE:
                yield {f"xattr-cli, rtol {rtol} *": ours.method}
                return
    raise SystemExit(f"xattr-cli does not reach {TOLERANCE:.0%} on {case.name}")


# --- captum ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Captum:
    """Integrated gradients by captum, by its default rule, Gauss-Legendre.

    Attributes:
        case: network and rows.
        steps: `n_steps`.
        together: rows per call of `attribute`; None for all.
        internal: `internal_batch_size`.
    """

    case: Case
    steps: int = 50
    together: int | None = None
    internal: int | None = None

    def __str__(self) -> str:
        rows = "all rows" if self.together is None else f"{self.together} rows a call"
        return f"captum, n_steps {self.steps}, {rows}, internal_batch_size {self.internal}"

    @property
    def method(self) -> Method:
        """To be timed."""
        return Method(self.attribute, self.steps)

    def attribute(self) -> Tensor:
        """(rows, D) maps."""
        together = self.together or len(self.case.images)
        method = CaptumIntegratedGradients(self.case.network)
        maps = [
            method.attribute(
                images, target=targets, n_steps=self.steps, internal_batch_size=self.internal
            ).flatten(1)
            for images, targets in zip(
                self.case.images.split(together), self.case.targets.split(together), strict=True
            )
        ]
        return torch.cat(maps)


def smallest_steps(case: Case) -> int:
    """The smallest n_steps whose maps are within the tolerance in 95 % of the rows."""
    for steps in range(1, MOST_STEPS):
        if percentile(true_error(Captum(case, steps, internal=1024).attribute(), case.truth)) <= TOLERANCE:
            return steps
    raise SystemExit(f"captum does not reach {TOLERANCE:.0%} on {case.name} with {MOST_STEPS} steps")


def fastest_captum(case: Case, steps: int) -> dict[str, Method]:
    """The fastest of several ways to pack captum's calls."""
    rows = len(case.images)
    ways = {
        str(way): way
        for together in (None, 32, 128, 512)
        for internal in (None, 256, 512, 1024, 2048)
        if together is None or together < rows
        if internal is None or (together or rows) <= internal
        for way in [Captum(case, steps, together, internal)]
    }
    name = fastest({name: way.attribute for name, way in ways.items()})
    return {f"{name} *": ways[name].method}


# --- the bare network -----------------------------------------------------------------------------


def bare_gradients(case: Case, count: int, rows_per_call: int) -> None:
    """`count` gradients by autograd alone."""
    row = torch.arange(rows_per_call) % len(case.images)
    images, targets = case.images[row], case.targets[row, None]
    for start in range(0, count, rows_per_call):
        here = slice(0, min(rows_per_call, count - start))
        leaf = images[here].clone().requires_grad_()
        torch.autograd.grad(case.network(leaf).gather(1, targets[here]).sum(), leaf)


def fastest_bare(case: Case, count: int) -> int:
    """The number of rows per call with which the bare network is fastest."""
    sizes = {str(2**k): 2**k for k in range(5, 13)}
    ways = {name: lambda size=size: bare_gradients(case, count, size) for name, size in sizes.items()}
    return sizes[fastest(ways)]


def fastest(ways: dict[str, Callable[[], object]]) -> str:
    """Name of the way with the best time: a busy machine cannot make a slow one look fast."""
    seconds = alternate(ways, SEARCH_REPETITIONS)
    return min(seconds, key=lambda name: min(seconds[name]))


if __name__ == "__main__":
    main()
