"""Where the nodes of a path should be, and how many: every placement that was tried, adopted or not.

Example: python -m scripts.benchmarks.bench_nodes
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

import torch
from torch import Tensor

from scripts.benchmarks.bench_cases import share_covered
from scripts.benchmarks.benchlib import Table, publish, versions
from scripts.benchmarks.node_candidates import ADOPTED, CANDIDATES, LIMIT, Candidate, Stopping
from scripts.benchmarks.node_paths import CASES, PHOTOGRAPHS, Paths
from scripts.benchmarks.node_rules import Placement

RTOL = 0.05
QUANTILE = 0.95
LARGEST_RTOL = 1.0
BISECTIONS = 7
QUICK = ("GELU MLP", "table MLP")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--rows", type=int, help="most rows of a network (default: 20 photographs, 60 or 100 others)"
    )
    parser.add_argument("--networks", nargs="+", choices=[*CASES], default=[*CASES])
    parser.add_argument("--quick", action="store_true", help="12 rows of two small networks; nothing is kept")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names, most = (QUICK, 12) if options.quick else (options.networks, options.rows)
    began = time.perf_counter()
    rows = {name: min(CASES[name][1], most or CASES[name][1]) for name in names}
    found = {name: outcomes_of(CASES[name][0](count)) for name, count in rows.items()}
    tables = tables_of(found)
    if options.quick:
        print("\n".join(table.markdown() for table in tables))
        return
    facts = {**versions("torch"), "rows": "; ".join(f"{name} {count}" for name, count in rows.items())}
    publish("nodes", facts | {"minutes": round((time.perf_counter() - began) / 60, 1)}, tables)


# --- measuring -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a candidate needs on a network; None where it cannot tell.

    Attributes:
        rows: of the network.
        known: gradients a row of the smallest setting with errors of at most 5 % at the 95th percentile.
        gradients, error, covered: by its own error bar at rtol 5 %: gradients a row, true error at the 95th
            percentile, share of rows whose true error is at most 1.25 times the reported one.
    """

    rows: int
    known: float | None
    gradients: float | None = None
    error: float | None = None
    covered: float | None = None


def outcomes_of(paths: Paths) -> dict[str, Outcome]:
    """Name of the candidate -> its outcome."""
    began = time.perf_counter()
    outcomes = {candidate.name: outcome_of(candidate, paths) for candidate in CANDIDATES}
    print(f"{paths.name}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return outcomes


def outcome_of(candidate: Candidate, paths: Paths) -> Outcome:
    if candidate.fixed is not None:
        return Outcome(paths.rows, smallest(candidate.fixed, candidate.sizes, paths))
    if candidate.stopping is None or paths.name in candidate.unknown_to:
        return Outcome(paths.rows, None)
    own = candidate.stopping.run(paths, RTOL)
    covered = share_covered(own.true, own.reported)
    return Outcome(paths.rows, tuned(candidate.stopping, paths), mean(own.gradients), worst(own.true), covered)


def smallest(rule: Placement, sizes: Sequence[int], paths: Paths) -> float | None:
    """Gradients a row of the smallest size that is good enough."""
    index = 0
    while index < len(sizes):
        found = rule(paths, sizes[index])
        error = worst(paths.error(found.maps(paths.at(found.t))))
        if error <= RTOL:
            return found.gradients
        # an error far too large is not mended by one node more
        index = max(index + 1, int(index * min(error / RTOL / 2, 1.5)))
    return None


def tuned(rule: Stopping, paths: Paths) -> float | None:
    """Gradients a row at the largest rtol that is good enough."""
    first, last = math.log(RTOL / 4), math.log(LARGEST_RTOL)
    found = None
    for _ in range(BISECTIONS):
        middle = (first + last) / 2
        stopped = rule.run(paths, math.exp(middle))
        if worst(stopped.true) <= RTOL:
            first, found = middle, mean(stopped.gradients)
        else:
            last = middle
    return found


def mean(numbers: Tensor) -> float:
    return float(numbers.double().mean())


def worst(errors: Tensor) -> float:
    return float(errors.quantile(QUANTILE))


# --- tables ----------------------------------------------------------------------------------------

Found = Mapping[str, Mapping[str, Outcome]]
"""Network -> candidate -> outcome."""


def tables_of(found: Found) -> list[Table]:
    stopping = [candidate for candidate in CANDIDATES if candidate.stopping is not None]
    return [best_table(found), known_table(found), own_table(found, stopping), *honesty_tables(found, stopping)]


def known_table(found: Found) -> Table:
    columns = {"candidate": "", **dict.fromkeys(found, ".1f"), "× adopted": ".2f", "adopted": "", "why": ""}
    rows = [
        (c.name, *column(found, c, "known"), ratio(found, c, "known"), yes(c), why(found, c)) for c in CANDIDATES
    ]
    note = (
        "Mean gradients a row of the smallest setting whose maps are off by at most 5 % in 95 % of the rows: the "
        "number of nodes, or the rtol for rules by which every row stops alone. No user can know it. Integrated "
        "gradients of the predicted logit from zero, or a black picture; u^p: nodes are even in u, t = u^p. "
        "× adopted: geometric mean over the networks. Photographs are simulated from sketches of their gradients "
        "at 1,025 nodes (scripts/benchmarks/photo_reference.py), to the nearest of which nodes are moved: lengths "
        "are right within two percent. Panels or cells with a share of the error: in one step, the worst "
        "that hold this share of the squared error are halved, fewer if fewer should do; as many as should do: no "
        "such bound."
    )
    return Table("Had one known the setting", columns, rows, note)


def own_table(found: Found, stopping: Sequence[Candidate]) -> Table:
    columns = {"candidate": "", **dict.fromkeys(found, ".1f"), "× adopted": ".2f", "adopted": ""}
    rows = [(c.name, *column(found, c, "gradients"), ratio(found, c, "gradients"), yes(c)) for c in stopping]
    note = (
        "Mean gradients a row if every row stops by its own error bar at rtol 5 %: second differences for "
        "trapezoids, the distance to the level before for others, the completeness gap where said. Few gradients "
        "are worth nothing where the bar does not cover; see below."
    )
    return Table("By their own error bars", columns, rows, note)


def honesty_tables(found: Found, stopping: Sequence[Candidate]) -> list[Table]:
    covered = [(c.name, *column(found, c, "covered")) for c in stopping]
    errors = [(c.name, *column(found, c, "error")) for c in stopping]
    return [
        Table(
            "Are the error bars honest?",
            {"candidate": "", **dict.fromkeys(found, ".0%")},
            covered,
            "Share of rows whose true error is at most 1.25 times the reported one.",
        ),
        Table(
            "True errors of rows that stopped at 5 %",
            {"candidate": "", **dict.fromkeys(found, ".1%")},
            errors,
            "95th percentile.",
        ),
    ]


def best_table(found: Found) -> Table:
    """On every network, the candidate that needs the fewest gradients, of those that are honest everywhere."""
    columns = {
        "network": "", "adopted": ".1f", "fewest, honest bar": ".1f", "by": "", "fewest, known setting": ".1f",
        "by ": "", "limit": ".1f",
    }  # fmt: skip
    rows = []
    for name, outcomes in found.items():
        honest = [c for c in CANDIDATES if c.stopping is not None and not dishonest(found, c)]
        bar = min(honest, key=lambda c: outcomes[c.name].gradients or math.inf)
        real = [c for c in CANDIDATES if not c.word.startswith("knows") and outcomes[c.name].known is not None]
        known = min(real, key=lambda c: outcomes[c.name].known or math.inf)
        rows.append(
            (name, outcomes[ADOPTED.name].gradients, outcomes[bar.name].gradients, bar.name,
             outcomes[known.name].known, known.name, outcomes[LIMIT.name].known)
        )  # fmt: skip
    note = (
        "Gradients a row. adopted: by its own error bar at rtol 5 %; honest: a bar that, on no network, covers "
        f"fewer rows than {HONEST:.0%}, two standard errors allowed; limit: each row's own density and number of "
        "nodes known beforehand, which is the least for many small jumps, as on photographs; few large ones can "
        "be closed in on, or hit by luck."
    )
    return Table("Who needs the fewest gradients", columns, rows, note)


HONEST = 0.95


def dishonest(found: Found, candidate: Candidate) -> str | None:
    """The network on which its error bar covers the fewest rows, if they are too few."""
    outcomes = {name: found[name][candidate.name] for name in found}
    low = {
        name: one.covered
        for name, one in outcomes.items()
        if one.covered is not None and one.covered < HONEST - slack(one.rows)
    }
    return min(low, key=lambda name: low[name]) if low else None


def slack(rows: int) -> float:
    """Two standard errors of the share found, were the true one 95 %."""
    return 2 * math.sqrt(HONEST * (1 - HONEST) / rows)


def why(found: Found, candidate: Candidate) -> str:
    """What its numbers say, and what they do not."""
    words = [candidate.word] if candidate.word else []
    where = dishonest(found, candidate)
    if where is not None:
        words.append(f"its bar covers {found[where][candidate.name].covered:.0%} on {where}")
    if candidate is not ADOPTED and candidate.stopping is not None:
        worse = ratios(found, candidate, "gradients")
        words += [f"{worse[name]:.2f} × on {name}" for name in (PHOTOGRAPHS, "BiLSTM") if name in worse]
    return "; ".join(words)


def yes(candidate: Candidate) -> str:
    return "yes" if candidate is ADOPTED else "no"


def column(found: Found, candidate: Candidate, key: str) -> list[Any]:
    return [getattr(outcomes[candidate.name], key) for outcomes in found.values()]


def ratio(found: Found, candidate: Candidate, key: str) -> float | None:
    """Geometric mean over the networks of what it needs over what the adopted rule needs."""
    each = ratios(found, candidate, key)
    return geometric_mean(each.values()) if len(each) == len(found) else None


def ratios(found: Found, candidate: Candidate, key: str) -> dict[str, float]:
    pairs = {name: (getattr(o[candidate.name], key), getattr(o[ADOPTED.name], key)) for name, o in found.items()}
    return {name: ours / theirs for name, (ours, theirs) in pairs.items() if ours is not None and theirs}


if __name__ == "__main__":
    main()
