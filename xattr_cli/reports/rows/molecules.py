"""Molecules whose atoms and bonds are coloured by their attributions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, Normalize

from ...errors import JobError
from ...registry import FIGURES
from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.figure import FigureKind
from ..drawing.selection import Drawing, Nothing, Selection, paged
from ..drawing.sheet import BAR, GAP, Sheet, by_unit, heads_of, title_lines, title_map
from ..drawing.style import GREY, diverging_map, symmetric_limit
from ..drawing.words import number, score_unit, shorten
from .molecule_drawing import Colour, Molecule, parsed
from .molecule_maps import SMILES, MoleculeMap, fingerprint_map, molecule_map

__all__ = ["Molecules", "ground", "maps_of_molecule", "molecule_of"]

_ROWS_PER_PAGE = 8
_SMILES_SHOWN = 42  # characters
_PALE = 0.28  # the ends of the colours are left out: symbols of atoms must be readable on them

# inches
_WIDTH, _HEIGHT, _NOTE = 2.9, 2.1, 0.3


@FIGURES.register("molecules")
class Molecules(FigureKind):
    """Pages of molecules, one cell per engine that explains atoms or bonds."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        texts = selection.results.sample_texts.get(SMILES, {})
        if not texts:
            yield Nothing(f"the samples have no text {SMILES!r} in the file")
            return
        try:
            molecules = {row: molecule_of(selection.results, row) for row in selection.rows.tolist()}
        except JobError as error:
            yield Nothing(str(error))
            return
        maps = {
            row: maps_of_molecule(selection.results, selection.engines, row, molecule)
            for row, molecule in molecules.items()
            if molecule is not None
        }
        rows = [row for row, found in maps.items() if found]
        if not rows:
            yield Nothing(
                "no explained tensor has steps that are atoms, or called as atoms or bonds: C0, C0-N1; nor is it "
                "a Morgan fingerprint made by the job"
            )
            return
        labels = {label for row in rows for label in maps[row]}
        engines = [engine for engine in selection.engines if engine.label in labels]
        for stem, chosen in paged("molecules", rows, _ROWS_PER_PAGE):
            drawn = {row: molecule for row in chosen if (molecule := molecules[row]) is not None}
            yield Drawing(stem, MoleculeSheet(selection.results, engines, drawn, maps).draw())


def molecule_of(results: Results, row: int) -> Molecule | None:
    """The molecule of a row; None if its sample has none in the file.

    Raises:
        JobError: RDKit is not installed.
    """
    text = results.sample_texts.get(SMILES, {}).get(int(results.rows.sample[row]))
    return None if text is None else parsed(text)


def maps_of_molecule(
    results: Results, engines: Sequence[EngineResults], row: int, molecule: Molecule
) -> dict[str, MoleculeMap]:
    """Label of an engine -> what it says about the molecule of a row."""
    maps: dict[str, MoleculeMap] = {}
    for engine in engines:
        bonded = frozenset(molecule.bonds)
        attributed = molecule_map(results, engine, list(engine.tensors), row, bonded, molecule.atoms)
        attributed = attributed or fingerprint_map(results, engine, row, molecule)
        if attributed is not None:
            maps[engine.label] = attributed
    return maps


class MoleculeSheet(Sheet):
    """A line per row: its molecule, once per engine; maps in one unit share their colours."""

    def __init__(
        self,
        results: Results,
        engines: Sequence[EngineResults],
        molecules: dict[int, Molecule],
        maps: dict[int, dict[str, MoleculeMap]],
    ) -> None:
        self.molecules = molecules
        self.maps = maps
        self.units = by_unit(engines)
        heads, width = heads_of(self.units, _WIDTH)
        super().__init__(
            results,
            list(molecules),
            title=f"{results.path.name}: attribution of atoms and bonds",
            legend=(
                f"Orange raises the {score_unit(results)} of the target, blue lowers it. "
                f"±: reported relative L2 error of the map.\n{_legend(maps)}"
            ),
            width=width,
            height=_HEIGHT + _NOTE,
            title_lines=title_lines(engines, list(molecules)),
            heads=heads,
        )

    def draw_cells(self, row: int, left: float, top: float) -> None:
        for unit in self.units:
            maps = {engine: self.maps[row][engine.label] for engine in unit if engine.label in self.maps[row]}
            finite = [one.values for engine, one in maps.items() if engine.status[row] != Status.QUARANTINED]
            limit = symmetric_limit(*finite)
            for engine, attributed in maps.items():
                self._draw_molecule(engine, row, attributed, limit, left, top)
                left += _WIDTH + GAP
            if finite:
                colours = ScalarMappable(Normalize(-limit, limit), _pale_map())
                self.page.colour_bar(colours, left - GAP / 2, top, _HEIGHT)
            left += BAR

    def _draw_molecule(
        self, engine: EngineResults, row: int, attributed: MoleculeMap, limit: float, left: float, top: float
    ) -> None:
        axes = self.page.axes(left, top, _WIDTH, _HEIGHT)
        if not title_map(axes, engine, row):
            return
        atoms = {atom: ground(value, limit) for atom, value in attributed.atoms.items()}
        bonds = {pair: ground(value, limit) for pair, value in attributed.bonds.items()}
        picture = self.molecules[row].draw(atoms, bonds, _WIDTH, _HEIGHT)
        axes.imshow(picture, aspect="auto", interpolation="antialiased")
        axes.set_axis_off()
        note = shorten(self.molecules[row].smiles, _SMILES_SHOWN)
        if attributed.elsewhere:
            note += f"\nnot drawn: {number(attributed.elsewhere)}"
        self.page.text(left, top + _HEIGHT + 0.08, note, fontsize=7.5, color=GREY)


def _legend(maps: dict[int, dict[str, MoleculeMap]]) -> str:
    if any(one.of_bits for found in maps.values() for one in found.values()):
        return (
            "A bit of the fingerprint is shared equally among the environments that set it, and these share "
            "equally among their atoms.\nNot drawn: bits that are not set."
        )
    return "Features of an atom are summed. Not drawn: dummy nodes, and pairs of atoms without a bond."


def ground(value: float, limit: float) -> Colour:
    """Colour of the ground of an atom or bond, pale enough for black symbols on it."""
    red, green, blue, _ = _pale_map()(0.5 + 0.5 * float(np.clip(value / limit, -1, 1)))
    return float(red), float(green), float(blue)


@cache
def _pale_map() -> Colormap:
    """The colours of signed maps as far as black symbols can be read on them."""
    return ListedColormap(diverging_map()(np.linspace(0.5 - _PALE, 0.5 + _PALE, 257)), "pale")
