"""Interior gradients of a network that screens ligands by their fingerprints: inputs that are there or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from paper_networks import screening
from torch import nn

from scripts.benchmarks.benchlib import Table
from scripts.networks.molecules import environment, train_screening
from scripts.papers.interior.interior_paths import (
    gradient_claim,
    layers_claim,
    paths_of,
    saturation_claim,
    sum_claim,
)
from scripts.papers.paper_jobs import Claim, claim_table, removal_claim, run_config
from xattr_cli.store.results.reader import Results

__all__ = ["Ligands", "tables"]

METHODS = {"interior_gradients": "interior gradients", "input_x_gradient": "input × gradient"}
LEAST_CHANGE = 0.2  # of a probability, for its path to be worth looking at


@dataclass(frozen=True)
class Ligands:
    """The ligands that are taken for active.

    Attributes:
        smiles: of each.
        bits: (ligands, 2048) their fingerprints.
        contributions: method -> (ligands, 2048), to the chance of being active.
    """

    smiles: tuple[str, ...]
    bits: np.ndarray
    contributions: dict[str, np.ndarray]


def tables(folder: Path, quick: bool) -> list[Table]:
    """Train, follow the chance along the way, and take away what it rests on."""
    trained = train_screening(folder, epochs=15 if quick else 60)
    paths = {"dataset.path": folder / "test.csv", "model.checkpoint": folder / "model.pt"}
    changed = {**paths, **({"dataset.limit": 60} if quick else {})}
    with Results.open(run_config("screening", folder, changed, plots=not quick)) as results:
        way = paths_of(results.engine("interior_gradients"), LEAST_CHANGE)
        layers = layers_claim(results.engine("interior_gradients"))
        found = active_ones(results)
    claims = [
        saturation_claim(way, "probability"), layers, gradient_claim(way), sum_claim(way),
        bits_claim(folder, found),
    ]  # fmt: skip
    note = (
        f"{len(way.score)} of {way.all_rows} held-out ligands, those whose chance changes by {LEAST_CHANGE} or "
        "more; the baseline is an empty fingerprint. Active: 100 nmol/l halve the target's activity."
    )
    return [claim_table(f"Screening of ligands: {trained}", claims, note), environment_table(found)]


def active_ones(results: Results) -> Ligands:
    """Rows of the result of the job `screening` that are taken for active."""
    rows = np.flatnonzero(results.rows.target == 1)
    samples = results.rows.sample[rows]
    texts = results.sample_texts["smiles"]
    maps = {name: results.engine(name).attribution(rows) for name in METHODS}
    return Ligands(tuple(texts[int(one)] for one in samples), results.inputs["bits"].values(samples), maps)


def bits_claim(folder: Path, found: Ligands, count: int = 10) -> Claim:
    """Bits that are there and then not: those with the greatest contributions, or some at random."""
    network = screening()
    network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    rng = np.random.default_rng(0)
    ranks = {label: found.contributions[name] for name, label in METHODS.items()}
    ranks["at random"] = rng.random(found.bits.shape)
    falls = {label: fall(network.eval(), found.bits, values, count) for label, values in ranks.items()}
    return removal_claim(
        "Interior gradients find the features that matter better than gradients at the input do",
        f"fall of the chance of {len(found.bits)} active ones without the {count} bits that a method names",
        falls,
        f"Ligands, fall of the chance without the {count} bits named",
    )


def fall(network: nn.Module, bits: np.ndarray, ranks: np.ndarray, count: int) -> np.ndarray:
    """(ligands,) fall of the chance when the present bits of the highest ranks are cleared."""
    order = np.argsort(-np.where(bits > 0, ranks, -np.inf), axis=1)[:, :count]
    cleared = bits.copy()
    np.put_along_axis(cleared, order, 0, axis=1)
    with torch.no_grad():
        before, after = (network(torch.from_numpy(one))[:, 0].sigmoid().numpy() for one in (bits, cleared))
    return np.asarray(before - after)


def environment_table(found: Ligands, count: int = 10, fewest: int = 5) -> Table:
    """Bits of the greatest mean contribution where they are set, and a part of a molecule that sets each."""
    own = found.contributions["interior_gradients"]
    present = np.flatnonzero((found.bits > 0).sum(axis=0) >= min(fewest, len(found.bits)))
    means = {int(bit): float(own[found.bits[:, bit] > 0, bit].mean()) for bit in present}
    order = sorted(means, key=lambda bit: -means[bit])
    rows = []
    for bit in [*order[:count], *order[-3:]]:
        having = np.flatnonzero(found.bits[:, bit] > 0)
        parts = commonest([environment(found.smiles[place], bit) for place in having])
        rows.append([bit, parts, len(having), means[bit]])
    return Table(
        "Parts of molecules that make a ligand active",
        {"bit": "", "commonest part that sets it": "", "ligands with it": "d", "mean contribution": "+.3f"},
        rows,
        note=f"The {count} of greatest and the 3 of least mean contribution to the chance, among the bits of "
        f"{fewest} or more of the ligands taken for active. Different parts may share a bit.",
    )


def commonest(parts: Sequence[str]) -> str:
    counts: dict[str, int] = defaultdict(int)
    for part in parts:
        counts[part] += 1
    return max(counts, key=lambda part: counts[part])
