"""Attributions of a fingerprint's bits, shared among the atoms whose environments set them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from .molecule_drawing import Molecule
from .molecule_maps import MoleculeMap

__all__ = ["fingerprint_map", "shared_among_atoms"]

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
    found = MoleculeMap(of_bits=True)
    for bit, places in environments.items():
        for atoms in places:
            for atom in atoms:
                found.add((atom,), float(values[bit]) / (len(places) * len(atoms)), frozenset())
    unset = np.ones(len(values), bool)
    unset[list(environments)] = False
    found.elsewhere = float(values[unset].sum())
    return found


def _settings(results: Results) -> Mapping[str, int] | None:
    """`radius` and `bits` of the fingerprint, as the job has them; None if it has no such data."""
    source = results.job.get("dataset")
    features = (
        source.get("features") if isinstance(source, Mapping) and source.get("kind") == "molecules" else None
    )
    settings = features.get("morgan") if isinstance(features, Mapping) else None
    return settings if isinstance(settings, Mapping) and {"radius", "bits"} <= settings.keys() else None
