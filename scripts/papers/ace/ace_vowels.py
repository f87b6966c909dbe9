"""Spoken vowels read by a bidirectional LSTM: data that the paper did not use, so that there is no claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scripts.benchmarks.benchlib import Table
from scripts.networks.ace_training import train_vowels
from scripts.papers.ace.ace_job import run_effects
from xattr_cli.store.results.reader import Results

__all__ = ["tables"]

STEPS, COEFFICIENTS, SPEAKERS = 29, 12, 9


def tables(folder: Path, quick: bool) -> list[Table]:
    """The coefficients and the steps that tell the speakers apart."""
    trained = train_vowels(folder)
    engine = {"alphas": 24, "lengths": "lengths", "estimator": "empirical", "samples": 20 if quick else 200,
              "range": {"quantiles": 0.02}}  # fmt: skip
    output = run_effects(
        folder,
        {"kind": "arrays", "path": "test.npz", "inputs": ["X", "lengths"], "labels": "y"},
        "vowels",
        {"ace": engine},
        explain={"inputs": ["X"]},
        target="all",
    )
    with Results.open(output) as results:
        effects = np.abs(results.effects["ace"].values("ace")).mean(axis=1)
    ace = effects.reshape(STEPS, COEFFICIENTS, SPEAKERS)
    by_coefficient, by_step = ace.mean(axis=(0, 2)), ace.mean(axis=(1, 2))
    leading = [f"{ace[:, :, s].mean(axis=0).argmax() + 1}" for s in range(SPEAKERS)]
    rows = [[int(c) + 1, float(by_coefficient[c] / by_coefficient.sum())] for c in np.argsort(-by_coefficient)]
    thirds = [by_step[a:b].sum() / by_step.sum() for a, b in ((0, 7), (7, 14), (14, STEPS))]
    note = (
        "No claim of the paper: data that it did not use. Steps 1-7, 8-14, 15-29 have "
        f"{thirds[0]:.0%}, {thirds[1]:.0%} and {thirds[2]:.0%} of it (every utterance has 7 steps, few have 20); "
        f"the leading coefficient of speakers 1 to 9 is {', '.join(leading)}."
    )
    columns = {"cepstral coefficient": "", "share of mean |ACE|": ".3f"}
    return [Table(f"JapaneseVowels ({trained})", columns, rows, note)]
