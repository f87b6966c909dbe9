"""Molecules in a page: drawn once per engine, atoms and bonds on coloured grounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.style import symmetric_limit
from ..drawing.words import number
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

    def maps(self, row: int, least: Mapping[str, float] | None = None) -> dict[str, Shown]:
        molecule = molecule_of(self.results, row)
        if molecule is None:
            return {}
        maps = maps_of_molecule(self.results, self.engines, row, molecule)
        found: dict[str, Shown] = {}
        for unit in self.units:
            good = [e for e in unit if e.label in maps and e.status[row] != Status.QUARANTINED]
            limit = symmetric_limit(*(maps[engine.label].values for engine in good))
            limit = max(limit, *((least or {}).get(engine.label, 0.0) for engine in unit))
            for engine in good:
                one = maps[engine.label]
                atoms = {atom: ground(value, limit) for atom, value in one.atoms.items()}
                bonds = {pair: ground(value, limit) for pair, value in one.bonds.items()}
                drawn = _png(molecule.draw(atoms, bonds, _WIDTH, _HEIGHT))
                look = Molecule(drawn, molecule.smiles, _note(one))
                found[engine.label] = Shown((look,), number(limit))
        return found

    def limits(self, row: int) -> dict[str, float]:
        molecule = molecule_of(self.results, row)
        maps = {} if molecule is None else maps_of_molecule(self.results, self.engines, row, molecule)
        found: dict[str, float] = {}
        for unit in self.units:
            labels = [e.label for e in unit if e.label in maps and e.status[row] != Status.QUARANTINED]
            if any(maps[label].values.any() for label in labels):
                found |= dict.fromkeys(labels, symmetric_limit(*(maps[label].values for label in labels)))
        return found

    def show(self, engine: EngineResults, row: int, values: np.ndarray, limit: float) -> Shown:
        return self.maps(row)[engine.label]


def _note(found: MoleculeMap) -> str:
    parts = ["bits of the fingerprint, shared equally among their atoms"] if found.of_bits else []
    parts += [f"not drawn: {number(found.elsewhere)}"] if found.elsewhere else []
    return "; ".join(parts)


def _png(pixels: np.ndarray) -> str:
    image = Image.fromarray(np.round(255 * pixels[..., :3]).astype(np.uint8), "RGB")
    image = image.resize((image.width // _SHRINK, image.height // _SHRINK), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.quantize(_COLOURS).save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")
