"""Attributions of the atoms and bonds of a molecule, found among the steps of what is explained."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from .molecule_drawing import Molecule

__all__ = [
    "SMILES",
    "MoleculeMap",
    "fingerprint_map",
    "molecule_map",
    "names_atoms",
    "places",
    "shared_among_atoms",
]

SMILES = "smiles"
"""Name of the text of a sample that molecules are drawn from."""

_NUMBER = re.compile(r"\d+")
_FEATURES = ("feature", "embedding", "channel")


@dataclass
class MoleculeMap:
    """What an engine says about a molecule.

    Attributes:
        atoms: RDKit's number of an atom -> its attribution.
        bonds: numbers of two bonded atoms, the smaller first -> attribution of the bond.
        elsewhere: sum of the attributions of what cannot be drawn: dummy nodes, pairs without a bond, bits that
            are not set.
        of_bits: whether it is made of attributions of a fingerprint's bits.
    """

    atoms: dict[int, float] = field(default_factory=dict)
    bonds: dict[tuple[int, int], float] = field(default_factory=dict)
    elsewhere: float = 0.0
    of_bits: bool = False

    @property
    def values(self) -> np.ndarray:
        """(atoms + bonds,) all attributions that are drawn."""
        return np.array([*self.atoms.values(), *self.bonds.values()], np.float64)

    def add(self, place: tuple[int, ...], value: float, bonded: frozenset[tuple[int, int]]) -> None:
        """Give a value to an atom (i,), or to the bond of two atoms (i, j)."""
        pair = (min(place), max(place)) if len(place) == 2 else ()
        if len(set(place)) == 1:
            self.atoms[place[0]] = self.atoms.get(place[0], 0.0) + value
        elif len(pair) == 2 and pair in bonded:
            self.bonds[pair] = self.bonds.get(pair, 0.0) + value
        else:
            self.elsewhere += value


def names_atoms(names: Sequence[str]) -> bool:
    """Whether steps are called as atoms, "C0", "N1", or as bonds, "C0-N1": most have a number, each its own."""
    found = [tuple(_NUMBER.findall(name)) for name in names]
    numbered = [numbers for numbers in found if len(numbers) in (1, 2)]
    return len(numbered) > len(found) / 2 and len(set(numbered)) == len(numbered)


def places(names: Sequence[str], steps: int, atoms: int) -> list[tuple[int, ...]] | None:
    """Which atom or pair of atoms each step stands for, () for none; None if that is not known.

    The numbers in its name are RDKit's. Steps without names are the atoms in order; if there is one step more,
    the first is a dummy node, as in the Molecule Attention Transformer (Maziarka et al. 2020, arXiv 2002.08264).

    Arguments:
        names: of the steps; empty if they have none.
        steps: how many there are.
        atoms: of the molecule.
    """
    if names:
        numbers = [tuple(int(number) for number in _NUMBER.findall(name)) for name in names]
        known = [place if len(place) in (1, 2) and max(place) < atoms else () for place in numbers]
        return known if names_atoms(names) else None
    if steps not in (atoms, atoms + 1):
        return None
    return [() for _ in range(steps - atoms)] + [(atom,) for atom in range(atoms)]


def molecule_map(
    results: Results,
    engine: EngineResults,
    tensors: Sequence[str],
    row: int,
    bonded: frozenset[tuple[int, int]],
    atoms: int,
) -> MoleculeMap | None:
    """The attributions of a row's molecule, over all tensors that speak of its atoms or bonds; None if none does.

    Features of an atom or bond are summed. A matrix with a row and a column per atom speaks of bonds: both of
    its entries count, and its diagonal belongs to the atoms.

    Arguments:
        tensors: explained tensors of the engine.
        bonded: pairs of atoms with a bond, the smaller number first.
        atoms: how many atoms the molecule has.
    """
    summed = MoleculeMap()
    is_any = False
    for tensor in tensors:
        values = _per_step(results, engine, tensor, row)
        names = _names(results, tensor, int(results.rows.sample[row]))
        at = places(names, len(values), atoms)
        if at is None:
            continue
        is_any = True
        _collect(summed, values, at, bonded)
    return summed if is_any else None


def _collect(
    summed: MoleculeMap, values: np.ndarray, at: Sequence[tuple[int, ...]], bonded: frozenset[tuple[int, int]]
) -> None:
    for step, place in enumerate(at):
        if values.ndim == 1:
            summed.add(place, float(values[step]), bonded)
            continue
        for other, beside in enumerate(at):
            pair = (*place, *beside) if place and beside else ()
            summed.add(pair, float(values[step, other]), bonded)


def _per_step(results: Results, engine: EngineResults, tensor: str, row: int) -> np.ndarray:
    """(steps,) or (steps, steps) of a row's map, without padding."""
    values = engine.reduced([row], tensor)[0].astype(np.float64)
    is_matrix = values.ndim > 1 and values.shape[0] == values.shape[1] and engine.axes[tensor][1] not in _FEATURES
    summed: np.ndarray = values.reshape(*values.shape[: 1 + is_matrix], -1).sum(axis=-1)
    source = results.inputs.get(tensor)
    real = None if source is None else source.real([int(results.rows.sample[row])])
    if real is None:
        return summed
    return np.asarray(summed[np.ix_(real[0], real[0])] if is_matrix else summed[real[0]])


def _names(results: Results, tensor: str, sample: int) -> tuple[str, ...]:
    source = results.inputs.get(tensor)
    return source.tokens(sample) if source is not None and sample in results.stored else ()


_TENSOR = "bits"


def fingerprint_map(results: Results, engine: EngineResults, row: int, molecule: Molecule) -> MoleculeMap | None:
    """The attributions of a row's bits, brought to the atoms; None if the row does not explain a fingerprint.

    The job tells the radius and the length of the fingerprint. It must be that of the molecule, bit by bit, as
    this RDKit computes it, or the bits would be taken for other parts.
    """
    settings = _settings(results)
    if settings is None or engine.tensors.get(_TENSOR) != (settings["bits"],) or _TENSOR not in results.inputs:
        return None
    environments = molecule.environments(settings["radius"], settings["bits"])
    sample = int(results.rows.sample[row])
    if np.flatnonzero(results.inputs[_TENSOR].values([sample])[0]).tolist() != sorted(environments):
        return None
    return shared_among_atoms(engine.attribution([row], _TENSOR)[0].astype(np.float64), environments)


def shared_among_atoms(values: np.ndarray, environments: Mapping[int, Sequence[Sequence[int]]]) -> MoleculeMap:
    """Every bit is shared equally among the environments that set it, and each share equally among its atoms.

    So the atoms sum to the bits that are set. Nothing tells which of two environments with the same bit, or
    which atom of an environment, the network would rather do without: all that it sees is the bit, and equal
    shares are the only ones that favour none.

    Arguments:
        values: (bits,) attributions.
        environments: bit that is set -> the atoms of each environment that sets it.
    """
    unset = np.ones(len(values), bool)
    unset[list(environments)] = False
    summed = MoleculeMap(of_bits=True, elsewhere=float(values[unset].sum()))
    for bit, places in environments.items():
        for atoms in places:
            for atom in atoms:
                summed.add((atom,), float(values[bit]) / (len(places) * len(atoms)), frozenset())
    return summed


def _settings(results: Results) -> Mapping[str, int] | None:
    """`radius` and `bits` of the fingerprint, as the job has them; None if it has no such data."""
    source = results.job.get("dataset")
    features = (
        source.get("features") if isinstance(source, Mapping) and source.get("kind") == "molecules" else None
    )
    settings = features.get("morgan") if isinstance(features, Mapping) else None
    return settings if isinstance(settings, Mapping) and {"radius", "bits"} <= settings.keys() else None
