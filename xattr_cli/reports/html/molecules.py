"""Molecules in a page: drawn once per engine, atoms and bonds on coloured grounds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO

import numpy as np
from PIL import Image

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.words import number
from ..rows.molecule_drawing import Molecule as Structure
from ..rows.molecule_maps import MoleculeMap
from ..rows.molecules import ground, maps_of_molecule, molecule_of
from .images import data_uri
from .views import Molecule, Shown, View

__all__ = ["MoleculeView"]

_WIDTH, _HEIGHT = 2.9, 2.1  # inches, as in the figures
_SHRINK, _COLOURS = 2, 64  # of RDKit's picture


class MoleculeView(View):
    """Molecules, over all tensors that speak of their atoms or bonds."""

    def __init__(self, results: Results, tensor: str, engines: Sequence[EngineResults]) -> None:
        super().__init__(results, tensor, engines)
        self.engines = engines
        self._drawn = lru_cache(maxsize=1)(self._read)  # a row is asked for by every engine, one after the other

    def _read(self, row: int) -> dict[str, tuple[Structure, MoleculeMap]]:
        """Label of an engine -> the molecule of a row, and what the engine says of its atoms and bonds."""
        molecule = molecule_of(self.results, row)
        maps = {} if molecule is None else maps_of_molecule(self.results, self.engines, row, molecule)
        return {label: (molecule, found) for label, found in maps.items() if molecule is not None}

    def _finite(self, unit: Sequence[EngineResults], row: int) -> dict[EngineResults, np.ndarray]:
        drawn = self._drawn(row)
        good = [e for e in unit if e.label in drawn and e.status[row] != Status.QUARANTINED]
        return {engine: drawn[engine.label][1].values for engine in good}

    def show(self, engine: EngineResults, row: int, values: np.ndarray, limit: float) -> Shown:
        molecule, attributed = self._drawn(row)[engine.label]
        atoms = {atom: ground(value, limit) for atom, value in attributed.atoms.items()}
        bonds = {pair: ground(value, limit) for pair, value in attributed.bonds.items()}
        drawn = _png(molecule.draw(atoms, bonds, _WIDTH, _HEIGHT))
        return Shown((Molecule(drawn, molecule.smiles, _note(attributed)),), number(limit))


def _note(attributed: MoleculeMap) -> str:
    parts = ["bits of the fingerprint, shared equally among their atoms"] if attributed.of_bits else []
    parts += [f"not drawn: {number(attributed.elsewhere)}"] if attributed.elsewhere else []
    return "; ".join(parts)


def _png(pixels: np.ndarray) -> str:
    image = Image.fromarray(np.round(255 * pixels[..., :3]).astype(np.uint8), "RGB")
    image = image.resize((image.width // _SHRINK, image.height // _SHRINK), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.quantize(_COLOURS).save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")
