"""What the reproductions share: a job of configs run in a folder of its own, and a table of claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import yaml
from scipy.stats import rankdata

from scripts.benchmarks.benchlib import ROOT, Table
from xattr_cli.job.config import load_job, parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.reports.gallery import plot_all
from xattr_cli.store.results.engines import EngineResults
from xattr_cli.store.results.reader import Results

__all__ = [
    "AGREES",
    "CONFIGS",
    "NOTE",
    "Claim",
    "Verdict",
    "accuracy_claim",
    "claim_table",
    "mean_of",
    "rank_correlation",
    "removal_claim",
    "run_config",
    "run_sections",
    "trained_once",
]

CONFIGS = ROOT / "configs"
NOTE = "trained.txt"
AGREES = "agrees"
Verdict = Literal["yes", "in part", "no"]


@dataclass(frozen=True)
class Claim:
    """What a paper says, and what came out here.

    Attributes:
        text: the claim.
        found: with figures.
        holds: whether they agree.
        brief: both in a short sentence, if the page of the paper may open with it.
    """

    text: str
    found: str
    holds: Verdict
    brief: str = ""


def claim_table(title: str, claims: Sequence[Claim], note: str = "") -> Table:
    """The claims of an experiment beside what was found."""
    rows = [[claim.text, claim.found, claim.holds] for claim in claims]
    verdict = [claim.brief for claim in claims if claim.brief]
    return Table(title, {"the paper": "", "found": "", AGREES: ""}, rows, note, verdict)


def trained_once(folder: Path, train: Callable[[], str]) -> str:
    """What training said; networks that `folder` has already are not trained again while that note is there."""
    said = folder / NOTE
    if not said.exists():
        told = train()
        said.write_text(told, encoding="utf-8")
    return said.read_text(encoding="utf-8")


def run_config(name: str, folder: Path, changed: Mapping[str, object], *, plots: bool = True) -> Path:
    """Run `configs/<name>.yaml` with some keys changed, and draw its figures; the result file.

    Arguments:
        name: of the job.
        folder: where the result and `plots` go.
        changed: dotted key -> value; paths as they are meant from here.
        plots: whether to draw.
    """
    output = folder / "attributions.h5"
    keys = {"output.path": output, "compute.threads": 1, "compute.device": "cpu", **changed}
    overrides = [f"{key}={value.resolve() if isinstance(value, Path) else value}" for key, value in keys.items()]
    run_job(load_job(str(CONFIGS / f"{name}.yaml"), overrides), overwrite=True)
    if plots:
        with Results.open(output) as results:
            plot_all(results, folder / "plots")
    return output


def run_sections(folder: Path, sections: Mapping[str, object], name: str) -> Results:
    """Run a job on one thread of the CPU, in a folder that holds its files, and open its result.

    Arguments:
        folder: where relative paths of the job start.
        sections: of the job, without its output.
        name: of the result file, which is replaced.
    """
    job = {"compute": {"device": "cpu", "threads": 1}, **sections, "output": {"path": f"{name}.h5"}}
    run_job(parse_job(yaml.safe_dump(job), folder=folder), overwrite=True)
    return Results.open(folder / f"{name}.h5")


def accuracy_claim(engine: EngineResults) -> Claim:
    """Section 5 of arXiv 1703.01365 on the number of steps."""
    spent, gaps, done, rtol = engine.evaluations, engine.relative_gap, engine.status == 0, engine.rtol
    within = float((gaps[done] <= 0.05).mean()) if done.any() else 0.0
    found = (
        f"{int(np.median(spent))} gradients in the middle and {int(spent.max())} at most bring the map itself, "
        f"not only its sum, within a reported {rtol:.0%}; {int(done.sum())} of {len(done)} rows settle, and "
        f"the sum of {within:.0%} of them is then within 5 % too"
    )
    holds: Verdict = "yes" if done.all() and spent.max() <= 300 and within > 0.9 else "in part"
    text = "20 to 300 steps bring the sum of the attributions within 5 % of the change of the score"
    return Claim(text, found, holds)


def removal_claim(text: str, what: str, falls: Mapping[str, np.ndarray], brief: str = "") -> Claim:
    """Whether the network misses what the first method names more than what the others do.

    Arguments:
        text: of the claim.
        what: falls, and when something is removed.
        falls: method -> (rows,) of the score; the first one is the paper's, the last one chance.
        brief: what a short sentence with the falls begins with.
    """
    first, *others = falls.values()
    told = ", ".join(f"{label} {value.mean():.3f}" for label, value in falls.items())
    gain, error = paired_gain(first, max(others, key=np.mean))
    beyond_chance, chance_error = paired_gain(first, others[-1])
    found = f"{what}: {told}; the former minus its closest rival, on the same rows, {gain:+.3f} ± {error:.3f}"
    # a gain may be certain and yet too small to speak of
    better = gain > 2 * error and gain > 0.02 * beyond_chance
    holds: Verdict = "yes" if better else "in part" if beyond_chance > 2 * chance_error else "no"
    return Claim(text, found, holds, f"{brief}: {told}." if brief else "")


def mean_of(values: Sequence[float] | np.ndarray, form: str = ".2f") -> str:
    """Mean ± standard deviation over the seeds, such as 0.31 ± 0.02; the value alone where there is one."""
    mean, *spread = [np.mean(values), *([np.std(values, ddof=1)] if len(values) > 1 else [])]
    return " ± ".join([format(float(mean), form), *(format(float(each), form.lstrip("+")) for each in spread)])


def paired_gain(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Mean difference on the same rows, and its standard error."""
    difference = one - other
    return float(difference.mean()), float(difference.std() / len(difference) ** 0.5)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's; NaN where one of them does not vary."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
