"""Integrated gradients on SolTranNet: which atoms make a molecule soluble in water, and which keep it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from paper_networks import Solubility, graph, solubility
from rdkit import Chem
from rdkit.Chem import rdMolDescriptors

from scripts.benchmarks.benchlib import Table
from scripts.networks.molecules import leave_molecules
from scripts.papers.paper_jobs import (
    Claim,
    accuracy_claim,
    claim_table,
    rank_correlation,
    removal_claim,
    run_config,
)
from xattr_cli.store.results.reader import Results

__all__ = ["REFERENCES", "Atoms", "atoms_of", "kind_of", "reference_table", "tables"]

REFERENCES = {
    "c1ccccc1": -1.052748441696167,
    "[Zn+2]": -6.881845474243164,
    "[Na+].[Cl-]": -0.16869020462036133,
}
"""What the unit test of soltrannet 1.0.0 asks for: SMILES -> logarithm of the solubility."""

METHODS = {"integrated_gradients": "integrated gradients", "input_x_gradient": "input × gradient"}
FAMILIES = {
    "element": slice(1, 12),
    "neighbours": slice(12, 18),
    "hydrogens": slice(18, 23),
    "charge": slice(23, 26),
    "ring": slice(26, 27),
    "aromatic": slice(27, 28),
}


@dataclass(frozen=True)
class Atoms:
    """What the atoms of a molecule do to its predicted solubility.

    Attributes:
        smiles: of the molecule.
        kinds: (atoms,) what each is.
        contributions: method -> (atoms,), in log10 of mol/l.
        features: (atoms, 28) those of integrated gradients, feature by feature.
        fat: (atoms,) contribution of each to Crippen's estimate of the octanol-water partition.
        solubility: predicted.
        empty: predicted for a molecule whose atoms have no features.
    """

    smiles: str
    kinds: tuple[str, ...]
    contributions: dict[str, np.ndarray]
    features: np.ndarray
    fat: np.ndarray
    solubility: float
    empty: float


def tables(folder: Path, quick: bool) -> list[Table]:
    """The reference values first; then explain, and compare with chemistry."""
    told = leave_molecules(folder, count=12 if quick else 80)
    paths = {"dataset.path": folder / "molecules.smi"}
    with Results.open(run_config("solubility", folder, paths)) as results:
        found = [atoms_of(results, row) for row in range(len(results.rows))]
        steps = accuracy_claim(results.engine("integrated_gradients"))
    claims = [steps, sum_claim(found), chemistry_claim(found), ablation_claim(found), degenerate_claim(found)]
    return [
        reference_table(),
        claim_table(
            f"Solubility of molecules: {told}", claims, "All features of all atoms are 0 at the baseline."
        ),
        kind_table(found),
        family_table(found),
    ]


def reference_table() -> Table:
    """The three values of the package's own test."""
    rows = [
        [smiles, wanted, value := predicted(smiles), abs(value - wanted)] for smiles, wanted in REFERENCES.items()
    ]
    columns = {"SMILES": "", "unit test of soltrannet": ".6f", "here": ".6f", "difference": ".1e"}
    return Table("SolTranNet as its authors have it", columns, rows, "Logarithm of the solubility in mol/l.")


def predicted(smiles: str, *, without: Sequence[int] = ()) -> float:
    """Logarithm of the solubility; `without` the features of some atoms."""
    given = graph(Chem.MolFromSmiles(smiles))
    atoms, bonds = (torch.from_numpy(given[name])[None] for name in ("atoms", "bonds"))
    mask = torch.ones(atoms.shape[:2], dtype=torch.bool)
    atoms[:, [place + 1 for place in without]] = 0
    with torch.no_grad():
        return float(_network()(atoms, bonds, mask))


@cache
def _network() -> Solubility:
    return solubility()


def atoms_of(results: Results, row: int) -> Atoms:
    """A row of the result of the job `solubility`, without its dummy atom and padding."""
    smiles = results.sample_texts["smiles"][int(results.rows.sample[row])]
    molecule = Chem.MolFromSmiles(smiles)
    real = slice(1, 1 + molecule.GetNumAtoms())
    engine = results.engine("integrated_gradients")
    return Atoms(
        smiles,
        tuple(kind_of(atom) for atom in molecule.GetAtoms()),
        {name: results.engine(name).reduced([row])[0, real] for name in METHODS},
        engine.attribution([row])[0, real],
        liking_of_fat(molecule),
        float(engine.score_input[row]),
        float(engine.score_baseline[row]),
    )


def liking_of_fat(molecule: Chem.Mol) -> np.ndarray:
    """(atoms,) of Crippen's contributions to the logarithm of the octanol-water partition, hydrogens included."""
    whole = Chem.AddHs(molecule)
    fat = np.zeros(molecule.GetNumAtoms())
    for atom, (own, _) in zip(whole.GetAtoms(), rdMolDescriptors._CalcCrippenContribs(whole), strict=True):
        heavy = atom if atom.GetAtomicNum() > 1 else atom.GetNeighbors()[0]
        fat[heavy.GetIdx()] += own
    return fat


def kind_of(atom: Chem.Atom) -> str:
    """What chemists would call an atom, roughly."""
    symbol = atom.GetSymbol()
    if symbol == "C":
        return "C, aromatic" if atom.GetIsAromatic() else "C, other"
    if symbol == "O":
        return "O with hydrogen" if atom.GetTotalNumHs() else "O, other"
    if symbol == "N":
        return "N with hydrogen" if atom.GetTotalNumHs() else "N, other"
    return "halogen" if symbol in ("F", "Cl", "Br", "I") else "other"


# --- claims ---------------------------------------------------------------------------------------


def sum_claim(found: Sequence[Atoms]) -> Claim:
    missed = {
        name: [abs(a.contributions[name].sum() - (a.solubility - a.empty)) for a in found] for name in METHODS
    }
    text = ", ".join(f"{label} {np.median(missed[name]):.2f}" for name, label in METHODS.items())
    exact = np.median(missed["integrated_gradients"]) < 0.25 * np.median(missed["input_x_gradient"])
    return Claim(
        "Attributions of the atoms add up to the change of the score",
        f"distance of their sum from it, in log10 of mol/l, median over molecules: {text}; the rest of the former "
        "is the dummy atom's",
        "yes" if exact else "in part",
    )


def chemistry_claim(found: Sequence[Atoms]) -> Claim:
    """Atoms that like fat should keep a molecule out of the water."""
    within = {name: correlations(found, name) for name in METHODS}
    between = {name: correlation_of_kinds(found, name) for name in METHODS}
    text = "; ".join(
        f"{label}: {between[name]:+.2f} between the kinds of atoms below, {within[name].mean():+.2f} ± "
        f"{within[name].std() / len(within[name]) ** 0.5:.2f} between the atoms of a molecule"
        for name, label in METHODS.items()
    )
    kinds, atoms = between["integrated_gradients"], float(within["integrated_gradients"].mean())
    return Claim(
        "The atoms that matter are those that make chemical sense",
        f"rank correlation with minus Crippen's estimate of how an atom likes fat: {text}",
        "yes" if min(kinds, atoms) > 0.3 else "in part" if max(kinds, atoms) > 0.3 else "no",
    )


def correlation_of_kinds(found: Sequence[Atoms], method: str, fewest: int = 10) -> float:
    """Between the means of kinds of atoms of which there are some."""
    kinds = np.concatenate([a.kinds for a in found])
    values, fat = (
        np.concatenate(one) for one in zip(*((a.contributions[method], a.fat) for a in found), strict=True)
    )
    common = [kind for kind in sorted(set(kinds.tolist())) if (kinds == kind).sum() >= fewest]
    means = [np.array([one[kinds == kind].mean() for kind in common]) for one in (values, -fat)]
    return rank_correlation(*means)


def correlations(found: Sequence[Atoms], method: str) -> np.ndarray:
    each = np.array([rank_correlation(a.contributions[method], -a.fat) for a in found])
    return each[np.isfinite(each)]


def ablation_claim(found: Sequence[Atoms], count: int = 2) -> Claim:
    """Atoms without their features: those with the most positive attributions, or some at random."""
    rng = np.random.default_rng(0)
    orders = {label: [np.argsort(-a.contributions[name]) for a in found] for name, label in METHODS.items()}
    orders["at random"] = [rng.permutation(len(a.kinds)) for a in found]
    falls = {
        label: np.array([loss(a, order[:count]) for a, order in zip(found, each, strict=True)])
        for label, each in orders.items()
    }
    what = f"fall of the predicted solubility when the {count} atoms that a method ranks first lose their features"
    return removal_claim("They matter to the network", what, falls)


def loss(atoms: Atoms, removed: Sequence[int]) -> float:
    return atoms.solubility - predicted(atoms.smiles, without=removed)


def degenerate_claim(found: Sequence[Atoms]) -> Claim:
    share = family_shares(found)
    least = min(share, key=lambda name: share[name])
    return Claim(
        "Attributions reveal degenerate features: in the paper's network, some that should matter got none",
        f"in this network no family of features is ignored; the least, {least}, has {share[least]:.1%}",
        "yes" if share[least] < 0.001 else "no",
    )


def family_shares(found: Sequence[Atoms]) -> dict[str, float]:
    total = {name: sum(float(np.abs(a.features[:, part].sum(axis=1)).sum()) for a in found)
             for name, part in FAMILIES.items()}  # fmt: skip
    return {name: value / sum(total.values()) for name, value in total.items()}


# --- tables ---------------------------------------------------------------------------------------


def kind_table(found: Sequence[Atoms]) -> Table:
    kinds = np.concatenate([a.kinds for a in found])
    fat = np.concatenate([a.fat for a in found])
    values = {name: np.concatenate([a.contributions[name] for a in found]) for name in METHODS}
    own = values["integrated_gradients"]
    rows = [
        [kind, int((kinds == kind).sum()), float(own[kinds == kind].mean()),
         float((own[kinds == kind] > 0).mean()),
         float(values["input_x_gradient"][kinds == kind].mean()), float(fat[kinds == kind].mean())]
        for kind in sorted(set(kinds.tolist()), key=lambda kind: -own[kinds == kind].mean())
    ]  # fmt: skip
    columns = {"atom": "", "count": "d", "mean attribution": "+.3f", "makes soluble": ".0%",
               "mean input × gradient": "+.3f", "mean liking of fat": "+.2f"}  # fmt: skip
    return Table("Atoms that make a molecule soluble or not", columns, rows, "In log10 of mol/l, as predicted.")


def family_table(found: Sequence[Atoms]) -> Table:
    rows = [[name, share] for name, share in sorted(family_shares(found).items(), key=lambda item: -item[1])]
    return Table("Features of atoms", {"features": "", "share of the absolute attribution": ".1%"}, rows)
