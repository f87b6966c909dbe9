"""Real molecules that come with RDKit, as two networks read them: graphs of atoms, and fingerprints."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from paper_networks import screening
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import rdFingerprintGenerator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from scripts.networks.descent import descend
from xattr_cli.datasets.molecules.features import Morgan

__all__ = ["KNOWN", "Ligand", "environment", "fingerprints", "leave_molecules", "ligands", "train_screening"]

KNOWN = {
    "benzene": "c1ccccc1",
    "caffeine": "Cn1cnc2n(C)c(=O)n(C)c(=O)c12",
    "aspirin": "CC(=O)Oc1ccccc1C(=O)O",
    "paracetamol": "CC(=O)Nc1ccc(O)cc1",
    "ibuprofen": "CC(C)Cc1ccc(cc1)C(C)C(=O)O",
    "glucose": "OCC1OC(O)C(O)C(O)C1O",
    "glycine": "NCC(=O)O",
    "naphthalene": "c1ccc2ccccc2c1",
    "octanol": "CCCCCCCCO",
    "DDT": "Clc1ccc(cc1)C(c1ccc(Cl)cc1)C(Cl)(Cl)Cl",
}
_ELEMENTS = {"B", "C", "N", "O", "F", "P", "S", "Cl", "Br", "I"}
_NCI = Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi"
_LIGANDS = Path(RDConfig.RDContribDir) / "FreeWilson" / "data"
_POTENT = 7.0  # -log10 of the concentration in mol/l that halves the activity of the target


# --- graphs of atoms ------------------------------------------------------------------------------


def leave_molecules(folder: Path, *, count: int = 80) -> str:
    """Leave `molecules.smi`: SMILES and names."""
    chosen = ordinary_molecules(count)
    names = [*KNOWN, *(f"nci{number}" for number in range(1, count + 1))]
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{smiles} {name}" for smiles, name in zip(chosen, names, strict=False)]
    (folder / "molecules.smi").write_text("\n".join(lines) + "\n")
    return f"SolTranNet, {count} molecules"


def ordinary_molecules(count: int, most_atoms: int = 30) -> list[str]:
    """SMILES of the molecules of `KNOWN`, then of some drawn from the first 5,000 of the NCI's collection.

    They are what SolTranNet was made for: no salts, the elements it knows, 5 to `most_atoms` atoms.
    """
    listed = [line.split()[0] for line in _NCI.read_text().splitlines() if line.strip()]
    order = np.random.default_rng(0).permutation(len(listed))
    chosen = [*KNOWN.values()]
    with rdBase.BlockLogs():
        drawn = (listed[place] for place in order if _is_ordinary(listed[place], most_atoms))
        chosen += [next(drawn) for _ in range(count - len(chosen))]
    return chosen[:count]


def _is_ordinary(smiles: str, most_atoms: int) -> bool:
    molecule = None if "." in smiles else Chem.MolFromSmiles(smiles)
    if molecule is None or not 5 <= molecule.GetNumAtoms() <= most_atoms:
        return False
    return {atom.GetSymbol() for atom in molecule.GetAtoms()} <= _ELEMENTS


# --- fingerprints ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ligand:
    """A molecule that was tried on a target.

    Attributes:
        smiles: what it is.
        potency: -log10 of the concentration in mol/l that halves the target's activity.
    """

    smiles: str
    potency: float


def ligands() -> list[Ligand]:
    """The 1,017 aryl sulfonamides of ChEMBL's document CHEMBL2321810, all tried on one target."""
    with (_LIGANDS / "CHEMBL2321810_act.csv").open() as file:
        potency = {row["Name"]: float(row["Act"]) for row in csv.DictReader(file)}
    lines = (_LIGANDS / "CHEMBL2321810.smi").read_text().split("\n")
    return [Ligand(smiles, potency[name]) for smiles, name in (line.split() for line in lines if line.strip())]


def fingerprints(smiles: Sequence[str]) -> np.ndarray:
    """(n, 2048) float32 of 0 and 1: whether an environment of up to 2 bonds is there (Morgan)."""
    return np.stack([Morgan()(Chem.MolFromSmiles(one))["bits"] for one in smiles])


def environment(smiles: str, bit: int, bits: int = 2048) -> str:
    """The largest part of a molecule that sets a bit, as SMILES; the whole molecule if that is one atom."""
    molecule = Chem.MolFromSmiles(smiles)
    told = rdFingerprintGenerator.AdditionalOutput()
    told.AllocateBitInfoMap()
    rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=bits).GetFingerprint(
        molecule, additionalOutput=told
    )
    atom, radius = max(told.GetBitInfoMap()[bit], key=lambda found: found[1])
    if not radius:
        return molecule.GetAtomWithIdx(atom).GetSmarts()
    around = Chem.FindAtomEnvironmentOfRadiusN(molecule, radius, atom)
    atoms = {end for bond in around for end in _ends(molecule.GetBondWithIdx(bond))}
    return Chem.MolFragmentToSmiles(molecule, atomsToUse=sorted(atoms), bondsToUse=list(around), rootedAtAtom=atom)


def _ends(bond: Chem.Bond) -> tuple[int, int]:
    return bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()


def train_screening(folder: Path, *, epochs: int = 60) -> str:
    """A network that screens ligands for potent ones; leaves `model.pt` and the held-out `test.csv`."""
    known = ligands()
    order = np.random.default_rng(0).permutation(len(known))
    inputs = torch.from_numpy(fingerprints([known[place].smiles for place in order]))
    active = torch.tensor([known[place].potency >= _POTENT for place in order]).float()
    split = len(known) * 4 // 5
    network = train(inputs[:split], active[:split], epochs)
    with torch.no_grad():
        logits = network(inputs[split:])[:, 0]
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), folder / "model.pt")
    rows = [f"{known[place].smiles},{int(known[place].potency >= _POTENT)}" for place in order[split:]]
    (folder / "test.csv").write_text("\n".join(["smiles,active", *rows]) + "\n")
    return (
        f"fingerprints of 2048 bits, two ReLU layers; {len(rows)} held-out ligands: "
        f"{float(((logits > 0) == (active[split:] > 0)).float().mean()):.1%} right, area under the ROC curve "
        f"{ranked_right(logits, active[split:] > 0):.2f}"
    )


def train(inputs: Tensor, active: Tensor, epochs: int) -> nn.Sequential:
    torch.manual_seed(0)
    network = screening()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-2)
    descend(
        optimizer,
        lambda part: binary_cross_entropy_with_logits(network(inputs[part])[:, 0], active[part]),
        len(inputs),
        epochs=epochs,
    )
    return network.eval()


def ranked_right(scores: Tensor, positive: Tensor) -> float:
    """Share of pairs of a positive and a negative one in which the positive one scores higher."""
    higher = scores[positive][:, None] - scores[~positive]
    return float(((higher > 0).float() + (higher == 0).float() / 2).mean())
