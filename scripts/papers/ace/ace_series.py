"""A simulated series with a known cause at a known lag, in place of the aircraft data that nobody else has."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scripts.benchmarks.benchlib import Table
from scripts.networks.ace_training import train_forecaster
from scripts.papers.ace.ace_job import SEEDS, run_effects
from scripts.papers.paper_jobs import Claim, claim_table, mean_of
from xattr_cli.store.results.reader import Results

__all__ = ["tables"]

CAUSES = ("X[step 9, feature 0]", "X[step 8, feature 0]")


def tables(folder: Path, quick: bool) -> list[Table]:
    """Five forecasters, and the effects that roll out through their own predictions."""
    found, names = [], ()
    for seed in range(1 if quick else SEEDS):
        own = folder / str(seed)
        own.mkdir(parents=True, exist_ok=True)
        train_forecaster(own, seed)
        engines = {"ace": {"feedback": "autoregressive", "window": 6, "attributions": False}}
        output = run_effects(own, {"kind": "arrays", "path": "test.npz"}, "forecaster", engines, plots=seed == 0,
                             score="raw", target="all")  # fmt: skip
        with Results.open(output) as results:
            effects = results.effects["ace"]
            names = effects.texts("features")
            found.append(dict(zip(names, np.abs(effects.values("ace")).mean(axis=1), strict=True)))
    title = f"A series whose b follows a three steps later; {len(found)} MLPs over 6 steps"
    return [claim_table(title, [_claim(found)]), _table(found)]


def _claim(found: list[dict[str, np.ndarray]]) -> Claim:
    leading = [{*sorted(one, key=lambda name: -one[name][1])[:2]} == {*CAUSES} for one in found]
    false = [max(one[name][1] for name in one if name.endswith("feature 2]")) for one in found]
    cause = [one[CAUSES[0]][1] for one in found]
    return Claim(
        "Effects that are rolled out through predictions find the steps that cause the next one",
        f"the two causes of b are its two greatest effects in {sum(leading)} of {len(found)} networks: "
        f"{mean_of(cause)} from a three steps before; the greatest from c, which causes nothing, is "
        f"{mean_of(false)}",
        "yes" if all(leading) else "in part" if any(leading) else "no",
        f"Series: of {len(found)} forecasters {sum(leading)} are shown to rest on the true causes at the true "
        "lags.",
    )


def _table(found: list[dict[str, np.ndarray]]) -> Table:
    shared = [name for name in found[0] if all(name in one for one in found)]
    order = sorted(shared, key=lambda name: -np.mean([one[name][1] for one in found]))[:8]
    rows = [[name, *(mean_of([one[name][place] for one in found], ".3f") for place in range(3))] for name in order]
    columns = {"input": "", "mean |ACE| on a": "", "on b": "", "on c": ""}
    note = (
        "In place of the paper's aircraft data. Inputs are [step, channel] of 12 steps, counted from 0, channels "
        "a, b, c; the effect is that on the step after the last, rolled out through the network's own "
        "predictions. b is caused by a three steps before (step 9), and, as a and b remember themselves (0.5 and "
        "0.2), by a four steps before: tanh(a / 2) + tanh(a) / 5; c causes nothing in a and b. Steps looked back "
        f"on (tau: auto): {len({name.partition('[')[2].split(',')[0] for name in found[0]})}."
    )
    return Table("A series with a known cause: its inputs", columns, rows, note)
