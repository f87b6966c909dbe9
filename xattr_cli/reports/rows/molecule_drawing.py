"""Molecules drawn by RDKit, with atoms and bonds on coloured grounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.image import imread

from ...errors import JobError
from ...importing import import_optional

__all__ = ["Colour", "Molecule", "parsed"]

Colour = tuple[float, float, float]

_NEEDED = {"needed_by": "drawing molecules", "install": "xattr-cli[molecules]"}
_PER_INCH = 450
_RADIUS, _BOND_WIDTH = 0.36, 12  # of the grounds: in lengths of a bond, in widths of its line

# inches
_LONGEST_BOND, _LINE, _TEXT = 0.36, 0.009, (0.07, 0.12)


@dataclass(frozen=True)
class Molecule:
    """A molecule that can be drawn.

    Attributes:
        smiles: that it is the molecule of.
        atoms: how many it has, without those hydrogens that its SMILES leaves out.
        bonds: numbers of bonded atoms, the smaller first -> number of the bond.
    """

    smiles: str
    atoms: int
    bonds: Mapping[tuple[int, int], int]
    _molecule: Any

    def environments(self, radius: int, bits: int) -> dict[int, tuple[tuple[int, ...], ...]]:
        """Bit of the Morgan fingerprint -> the atoms of each environment that sets it.

        Arguments:
            radius: of the largest environments, in bonds.
            bits: length of the fingerprint.
        """
        generators = _rdkit("rdkit.Chem.rdFingerprintGenerator")
        told = generators.AdditionalOutput()
        told.AllocateBitInfoMap()
        generators.GetMorganGenerator(radius=radius, fpSize=bits).GetFingerprint(
            self._molecule, additionalOutput=told
        )
        found = told.GetBitInfoMap().items()
        return {bit: tuple(self._around(atom, reach) for atom, reach in places) for bit, places in found}

    def _around(self, atom: int, radius: int) -> tuple[int, ...]:
        """The atoms within some bonds of one, which is among them."""
        reached = {atom}
        for _ in range(radius):
            reached |= {end for pair in self.bonds if reached & {*pair} for end in pair}
        return tuple(sorted(reached))

    def draw(
        self, atoms: Mapping[int, Colour], bonds: Mapping[tuple[int, int], Colour], width: float, height: float
    ) -> np.ndarray:
        """(height, width, 3) picture in [0, 1] for a field of `width` × `height` inches, 450 pixels an inch.

        Arguments:
            atoms: number of an atom -> colour of its ground.
            bonds: numbers of two atoms -> colour of their bond's ground.
        """
        drawing = _rdkit("rdkit.Chem.Draw.rdMolDraw2D")
        canvas = drawing.MolDraw2DCairo(int(width * _PER_INCH), int(height * _PER_INCH))
        options = canvas.drawOptions()
        options.useBWAtomPalette()  # colours are for attributions alone
        options.highlightBondWidthMultiplier = _BOND_WIDTH
        options.highlightRadius = _RADIUS
        options.fillHighlights = options.atomHighlightsAreCircles = True
        options.padding = 0.06
        options.fixedBondLength = _LONGEST_BOND * _PER_INCH
        options.bondLineWidth = _LINE * _PER_INCH
        options.minFontSize, options.maxFontSize = int(_TEXT[0] * _PER_INCH), int(_TEXT[1] * _PER_INCH)
        numbers = {self.bonds[pair]: colour for pair, colour in bonds.items()}
        canvas.DrawMolecule(
            drawing.PrepareMolForDrawing(self._molecule),
            highlightAtoms=list(atoms),
            highlightAtomColors=dict(atoms),
            highlightBonds=list(numbers),
            highlightBondColors=numbers,
        )
        canvas.FinishDrawing()
        return np.asarray(imread(BytesIO(canvas.GetDrawingText()), format="png"))


def parsed(smiles: str) -> Molecule | None:
    """The molecule of a SMILES; None if it is none.

    Raises:
        JobError: RDKit is not installed.
    """
    with _rdkit("rdkit.rdBase").BlockLogs():
        molecule = _rdkit("rdkit.Chem").MolFromSmiles(smiles)
    if molecule is None or not molecule.GetNumAtoms():
        return None
    ends = ((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetIdx()) for bond in molecule.GetBonds())
    bonds = {(min(begin, end), max(begin, end)): number for begin, end, number in ends}
    return Molecule(smiles, molecule.GetNumAtoms(), bonds, molecule)


def _rdkit(module: str) -> Any:
    return import_optional(module, **_NEEDED, error=JobError)
