"""What a network is told of a molecule: its graph with features of the atoms, or its circular fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import Field

from ...registry import Options
from ..files import optional

__all__ = ["ATOM_FEATURES", "FEATURES", "Featurise", "Fingerprint", "Morgan", "step_names"]

Featurise = Callable[[Any], Mapping[str, Any]]
"""rdkit.Chem.Mol -> {name: array}; "steps" may name what the arrays run along, if it is not the atoms alone."""

_ELEMENTS = ("B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "Br", "I")
_MOST_NEIGHBOURS, _MOST_HYDROGENS = 5, 4

ATOM_FEATURES = (
    *(f"is {element}" for element in (*_ELEMENTS, "another element")),
    *(f"{count} heavy neighbours" for count in range(_MOST_NEIGHBOURS + 1)),
    *(f"{count} hydrogens" for count in range(_MOST_HYDROGENS + 1)),
    "formal charge",
    "in a ring",
    "aromatic",
)
"""Names along the last axis of `atoms`."""


def step_names(molecule: Any) -> list[str]:
    """Names of the atoms, in RDKit's order, which is that of the SMILES: "C0", "O1"…"""
    return [f"{atom.GetSymbol()}{atom.GetIdx()}" for atom in molecule.GetAtoms()]


def graph(molecule: Any) -> dict[str, np.ndarray]:
    """`atoms` (atoms, 26), see `ATOM_FEATURES`, and `bonds` (atoms, atoms), their orders, 1.5 if aromatic."""
    features = np.zeros((molecule.GetNumAtoms(), len(ATOM_FEATURES)), np.float32)
    neighbours = len(_ELEMENTS) + 1
    hydrogens = neighbours + _MOST_NEIGHBOURS + 1
    for place, atom in enumerate(molecule.GetAtoms()):
        symbol = atom.GetSymbol()
        features[place, _ELEMENTS.index(symbol) if symbol in _ELEMENTS else len(_ELEMENTS)] = 1
        features[place, neighbours + min(atom.GetDegree(), _MOST_NEIGHBOURS)] = 1
        features[place, hydrogens + min(atom.GetTotalNumHs(), _MOST_HYDROGENS)] = 1
        features[place, -3:] = (atom.GetFormalCharge(), atom.IsInRing(), atom.GetIsAromatic())
    bonds = np.zeros((len(features), len(features)), np.float32)
    for bond in molecule.GetBonds():
        begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        bonds[begin, end] = bonds[end, begin] = bond.GetBondTypeAsDouble()
    return {"atoms": features, "bonds": bonds}


class Morgan(Options):
    """A Morgan fingerprint: which environments of atoms a molecule has (Rogers, Hahn 2010, doi 10.1021/ci100050t).

    An environment is an atom and what lies within 0, 1, … `radius` bonds of it. Each sets a bit, which several
    may share.
    """

    radius: int = Field(default=2, ge=0, le=16, description="of the largest environments, in bonds")
    bits: int = Field(default=2048, ge=1, le=2**20)

    def __call__(self, molecule: Any) -> dict[str, np.ndarray]:
        """`bits` (bits,), 1 where the molecule has such an environment."""
        generators = optional(
            "rdkit.Chem.rdFingerprintGenerator", needed_by="features: morgan", install="xattr-cli[molecules]"
        )
        made = generators.GetMorganGenerator(radius=self.radius, fpSize=self.bits)
        return {"bits": made.GetFingerprintAsNumPy(molecule).astype(np.float32)}


class Fingerprint(Options):
    """`{morgan: {radius: 2, bits: 2048}}`, as the YAML has it."""

    morgan: Morgan = Morgan()


FEATURES: dict[str, Featurise] = {"graph": graph}
"""What `features` may name, beside a fingerprint and a module:callable."""
