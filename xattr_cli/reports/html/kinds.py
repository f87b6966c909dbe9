"""Which look each explained tensor of a file gets in a page."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import JobError
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.pictures import is_picture
from ..drawing.selection import tensors_of
from ..drawing.sequences import is_sequence
from ..rows.molecule_maps import SMILES
from ..rows.molecules import maps_of_molecule, molecule_of
from ..rows.token_rows import is_text
from .molecules import MoleculeView
from .views import BarsView, LinesView, PictureView, TokensView, View

__all__ = ["views_of"]


def views_of(results: Results, engines: Sequence[EngineResults], rows: Sequence[int]) -> list[View]:
    """A view for every explained tensor, in the order of the file; molecules have one for all their tensors.

    Arguments:
        rows: positions of the rows that are shown.
    """
    tensors = tensors_of(engines)
    if tensors and _are_molecules(results, engines, rows):
        return [MoleculeView(results, next(iter(tensors)), engines)]
    return [_kind(results, tensor, some)(results, tensor, some) for tensor, some in tensors.items()]


def _are_molecules(results: Results, engines: Sequence[EngineResults], rows: Sequence[int]) -> bool:
    """Whether a shown row has a molecule with maps; without RDKit, none is drawn."""
    if SMILES not in results.sample_texts:
        return False
    try:
        molecules = ((row, molecule_of(results, row)) for row in rows)
        found = next(((row, one) for row, one in molecules if one is not None), None)
        return found is not None and bool(maps_of_molecule(results, engines, *found))
    except JobError:
        return False


def _kind(results: Results, tensor: str, engines: Sequence[EngineResults]) -> type[View]:
    shape = engines[0].tensors[tensor]
    if is_text(results, tensor):
        return TokensView
    if is_sequence(results, engines[0], tensor):
        return LinesView
    return PictureView if is_picture(shape) else BarsView
