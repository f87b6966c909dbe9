"""Datasets of molecules: SMILES, featurised by RDKit; atoms are padded to one number, bonds are matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from ...errors import DataError, suggestion
from ...fingerprint import fingerprint_arrays
from ...importing import import_callable, importable_from
from ...job.config import JobPath
from ...registry import DATASETS
from ...samples import Batch, InputSpec
from ..base import DatasetSource, Samples
from ..classes.labels import as_labels
from ..columns import ArraySamples, Column
from ..files import existing_file, optional, to_numpy
from ..padded import HandOver, PaddedSamples, PaddedSequence
from ..text.files import TextFile, read_text_file
from .features import ATOM_FEATURES, FEATURES, Featurise, Fingerprint, step_names

__all__ = ["MoleculeSamples", "Molecules"]

ATOMS = "atom_count"
"""Name of the sequence of atoms, and of their number where the network is given that."""

SMILES = "smiles"
"""Name of the text that plots draw molecules from."""


def _spelled_out(features: Any) -> Any:
    return {"morgan": {}} if features == "morgan" else features


@DATASETS.register("molecules", "smiles", "smi")
class Molecules(DatasetSource):
    """Molecules as SMILES; plots draw them with their atoms and bonds coloured.

    `features: graph` gives the network `atoms` (atoms, 26) and `bonds` (atoms, atoms), padded with zeros to the
    largest molecule, and a mask of the atoms; `features: morgan` gives `bits` (2048,), and `features: {morgan:
    {radius: 3, bits: 1024}}` those of another fingerprint; plots share a bit among the atoms that set it. A
    callable of yours takes an rdkit.Chem.Mol and returns {name: array}: what has a row per atom is padded, what
    has a row and a column per atom is padded on both axes. If its arrays have further rows, such as a dummy node,
    it names all rows under "steps": atoms as "C0", "O1"… (the number is RDKit's), the others without a number.
    """

    path: JobPath = Field(
        description=".smi (SMILES and a name on each line), .csv (with a header), .jsonl or .txt"
    )
    smiles: str = Field(default="smiles", description="column of the SMILES")
    label: str | None = Field(
        default=None, description="column of labels: texts and integers are classes, other numbers a regression"
    )
    key: str | None = Field(default=None, description="column that names the samples; null: names in a .smi file")
    features: Annotated[str | Fingerprint, BeforeValidator(_spelled_out)] = Field(
        default="graph",
        description="graph, morgan, {morgan: {radius: 2, bits: 2048}}, or module:callable, from the job's folder",
    )
    hand_over: HandOver = Field(
        default="mask",
        description="what the network is given last: a mask (n, atoms), True where an atom is real, the "
        "number of atoms, or nothing",
    )

    def open(self) -> Samples:
        """Read and featurise the molecules.

        Raises:
            DataError: RDKit is missing, a SMILES is wrong, features are missing or differ between molecules.
        """
        file = self._file().head(self.limit)
        texts = file.texts(self.smiles, "dataset.smiles")
        made = [self._featurised(text, file.where(place)) for place, text in enumerate(texts)]
        labels = None if self.label is None else file.labels(self.label, "dataset.label")
        known = None if labels is None else as_labels(labels, "dataset.label", self.known_classes)
        columns = _columns(made, file, self._feature_names)
        arrays = [array for one in made for array in one.arrays.values()]
        samples = ArraySamples(
            columns,
            known,
            fingerprint=fingerprint_arrays([*arrays, *([] if known is None else [known.values])]),
            keys=file.texts(self.key, "dataset.key") if self.key else self._names(file),
            texts={SMILES: texts},
        )
        along = tuple(column.spec.name for column in columns if isinstance(column.stored, _Padded))
        lengths = np.array([len(one.steps) for one in made], np.int64)
        sequence = PaddedSequence(ATOMS, lengths, int(lengths.max()), along)
        return MoleculeSamples(samples, (sequence,) if along else (), self.hand_over, [one.steps for one in made])

    def _file(self) -> TextFile:
        if existing_file(self.path, "dataset.path").suffix.lower() != ".smi":
            return read_text_file(self.path, "dataset.path")
        lines = self.path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
        found = [(number, line.split(None, 1)) for number, line in enumerate(lines, 1) if line.strip()]
        if not found:
            raise DataError(f"dataset.path: {self.path}: the dataset is empty, without a molecule.")
        records = [dict(zip((self.smiles, "name"), map(str.strip, parts), strict=False)) for _, parts in found]
        return TextFile(self.path, records, [number for number, _ in found])

    def _names(self, file: TextFile) -> Sequence[str]:
        try:
            return file.texts("name", "") if self.path.suffix.lower() == ".smi" else ()
        except DataError:  # not all of them have one
            return ()

    def _featurised(self, text: str, where: str) -> _Molecule:
        chem = optional("rdkit.Chem", needed_by="dataset kind 'molecules'", install="xattr-cli[molecules]")
        base = optional("rdkit.rdBase", needed_by="dataset kind 'molecules'", install="xattr-cli[molecules]")
        with base.BlockLogs():  # RDKit would print its own complaints
            molecule = chem.MolFromSmiles(text)
        if molecule is None or molecule.GetNumAtoms() == 0:
            raise DataError(f"dataset.smiles: {where}: {text!r} is no SMILES of a molecule.")
        featurise = self._featuriser()
        try:
            with importable_from(self._job_folder):
                found = dict(featurise(molecule))
        except Exception as error:
            raise DataError(
                f"dataset.features: {where}: {self._described!r} failed on {text!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        steps = tuple(str(name) for name in found.pop("steps", step_names(molecule)))
        key = f"dataset.features: {self._described!r} on {text!r}"
        return _Molecule({str(k): to_numpy(v, f"{key}: {k!r}") for k, v in found.items()}, steps)

    @property
    def _described(self) -> str:
        return self.features if isinstance(self.features, str) else "morgan"

    @property
    def _feature_names(self) -> Mapping[str, tuple[str, ...]]:
        """Input -> names along its last axis, where the features are those of this package."""
        if isinstance(self.features, Fingerprint):
            return {"bits": tuple(f"bit {bit}" for bit in range(self.features.morgan.bits))}
        return {"atoms": ATOM_FEATURES} if self.features in FEATURES else {}

    def _featuriser(self) -> Featurise:
        if isinstance(self.features, Fingerprint):
            return self.features.morgan
        if self.features in FEATURES:
            return FEATURES[self.features]
        if ":" not in self.features:
            known = (*FEATURES, "morgan", "module:callable")
            raise DataError(
                f"dataset.features: unknown features {self.features!r}.{suggestion(self.features, known)}"
            )
        return import_callable(self.features, self._job_folder, "dataset.features")


@dataclass(frozen=True)
class _Molecule:
    """What a network is told of one molecule, and the names of the rows of what runs along its atoms."""

    arrays: Mapping[str, np.ndarray]
    steps: tuple[str, ...]


class _Padded:
    """Arrays with a row per step, or a row and a column, padded with zeros as they are read.

    Arguments:
        arrays: per sample.
        axes: how many of the leading axes count the steps: 1 or 2.
    """

    def __init__(self, arrays: Sequence[np.ndarray], axes: int) -> None:
        self._arrays = arrays
        longest = max(len(array) for array in arrays)
        self.shape: tuple[int, ...] = (len(arrays), *[longest] * axes, *arrays[0].shape[axes:])
        self.dtype: np.dtype[Any] = np.result_type(*{array.dtype for array in arrays})

    def __getitem__(self, rows: slice) -> np.ndarray:
        chosen = self._arrays[rows]
        padded = np.zeros((len(chosen), *self.shape[1:]), self.dtype)
        for place, array in enumerate(chosen):
            corner = tuple(slice(size) for size in array.shape)
            padded[place][corner] = array
        return padded


def _columns(
    made: Sequence[_Molecule], file: TextFile, feature_names: Mapping[str, tuple[str, ...]]
) -> list[Column]:
    """The inputs of the network."""
    if not made[0].arrays:
        raise DataError("dataset.features: nothing was returned for a molecule; return {name: array}.")
    return [_column(name, made, file, feature_names.get(name, ())) for name in made[0].arrays]


def _column(name: str, made: Sequence[_Molecule], file: TextFile, features: tuple[str, ...]) -> Column:
    for place, one in enumerate(made):
        if set(one.arrays) != set(made[0].arrays):
            raise DataError(
                f"dataset.features: {file.where(place)}: {sorted(one.arrays)} were returned, but for the first "
                f"molecule {sorted(made[0].arrays)}."
            )
    arrays = [one.arrays[name] for one in made]
    counts = [len(one.steps) for one in made]
    axes = _axes_of_steps([array.shape for array in arrays], counts)
    if len({array.shape[axes:] for array in arrays}) > 1:
        shapes = sorted({array.shape for array in arrays})[:3]
        raise DataError(
            f"dataset.features: {name!r} has shapes such as {shapes}, and no row per atom of each molecule; make "
            'them alike, or name the rows under "steps".'
        )
    stored = _Padded(arrays, axes) if axes else np.stack(arrays)
    shape = tuple(stored.shape[1:])
    labels: tuple[str, ...] = ("atom", "neighbour")[:axes]
    rest = len(shape) - axes
    labels += ("feature",) if rest == 1 else tuple(f"axis{place}" for place in range(rest))
    dtype = stored.dtype.newbyteorder("=")
    return Column(InputSpec(name, shape, dtype, labels, features, pairs=axes == 2), stored)


def _axes_of_steps(shapes: Sequence[tuple[int, ...]], counts: Sequence[int]) -> int:
    """How many of the leading axes of every array count its molecule's steps: 0, 1 or 2."""
    for axes in (2, 1):
        if all(shape[:axes] == (count,) * axes for shape, count in zip(shapes, counts, strict=True)):
            return axes
    return 0


class MoleculeSamples(PaddedSamples):
    """Samples of molecules, whose atoms have names.

    Arguments:
        samples: at full size, zeros in the padding.
        sequences: the atoms, if anything runs along them.
        hand_over: what the network is given beside the features.
        names: per molecule, of its steps.
    """

    def __init__(
        self,
        samples: Samples,
        sequences: tuple[PaddedSequence, ...],
        hand_over: HandOver,
        names: Sequence[Sequence[str]],
    ) -> None:
        super().__init__(samples, sequences, hand_over)
        self._names = names

    def read(self, start: int, stop: int) -> Batch:
        batch = super().read(start, stop)
        if ATOMS not in batch.real:
            return batch
        tokens = np.full(batch.real[ATOMS].shape, "", dtype=object)
        for row, names in enumerate(self._names[start:stop]):
            tokens[row, : len(names)] = names
        return replace(batch, tokens={ATOMS: tokens})
